"""`nepenthe init`: a published suite as a job that can be planned."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli import exit_code
from flows.job import read_job


def test_a_muse_folder_becomes_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "MUSE-Books" / "raw"
    raw.mkdir(parents=True)
    for split in ("forget", "retain1", "holdout"):
        pq.write_table(pa.table({"text": [f"About {split}."]}), raw / f"{split}-00000-of-00001.parquet")
    job = tmp_path / "job.toml"
    called = ["nepenthe", "init", "muse-books", "--data", str(raw.parent), "--model", "a/model", "--job", str(job)]
    monkeypatch.setattr(sys, "argv", called)
    assert exit_code() == 0
    read = read_job(job, [])
    assert read.corpus.paths == (str(raw / "forget-00000-of-00001.parquet"),)
    assert (read.preset, read.student.retain, read.audit.nonmembers) == ("durable", 0.5, read.evaluation.heldout)
    assert exit_code() == 2  # it is never written over
    assert "expected a new file" in capsys.readouterr().err
