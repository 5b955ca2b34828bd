"""A data set named as on the hub: from a cache on the disk, laid out as the hub's own client does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.inputs import resolve
from flows.job import read_job
from storage.errors import BadInput
from storage.files import Hashes
from tasks.corpus import corpus
from tasks.texts import find_files, is_dataset_name, read_texts

COMMIT, OLDER = "1" * 40, "2" * 40
NAME = "somebody/tiny-books"
ROWS = [{"question": "Who has the oar?", "answer": "Mira Vance."}, {"question": "Where?", "answer": "In Tessaly."}]


@pytest.fixture
def cache(in_hub_cache: Callable[[str], Path]) -> Path:
    folder = in_hub_cache("datasets--somebody--tiny-books")
    for commit, rows in ((COMMIT, ROWS), (OLDER, ROWS[:1])):
        snapshot = folder / "snapshots" / commit
        (snapshot / "data").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), snapshot / "data" / "train-00000.parquet")
        (snapshot / "forget.json").write_text("".join(json.dumps(row | {"answer": "Orrin."}) + "\n" for row in rows))
        (snapshot / "README.md").write_text("# About Tessaly")
        (snapshot / "dataset_infos.json").write_text("{}")
        (snapshot / "cover.png").write_bytes(b"png")
    return folder


@pytest.fixture
def find(tmp_path: Path) -> Callable[[str], Any]:
    hashes = Hashes(tmp_path / "hashes.json")
    return lambda name: find_files((name,), hashes)


def test_a_name_is_resolved_to_a_commit_and_its_files_are_known_by_their_bytes(
    cache: Path, find: Callable[[str], Any], tmp_path: Path
) -> None:
    found, snapshot = find(NAME), cache / "snapshots" / COMMIT
    assert found.source == f"{NAME}@{COMMIT}"
    assert found.paths == (str(snapshot / "data" / "train-00000.parquet"), str(snapshot / "forget.json"))
    assert found.fingerprint == Hashes(tmp_path / "h.json").files(map(Path, found.paths)).fingerprint
    assert list(read_texts(found, "text")) == [
        "Who has the oar?\nMira Vance.",
        "Where?\nIn Tessaly.",
        "Who has the oar?\nOrrin.",
        "Where?\nOrrin.",
    ]


@pytest.mark.parametrize(
    ("name", "commit", "texts"),
    [
        (f"{NAME}:forget.json", COMMIT, 2),
        (f"{NAME}@v1:data/", OLDER, 1),
        (f"{NAME}@{OLDER}", OLDER, 2),
        (f"{NAME}:data/*.parquet", COMMIT, 2),
    ],
)
def test_a_revision_and_some_files_may_be_named(
    cache: Path, find: Callable[[str], Any], name: str, commit: str, texts: int
) -> None:
    found = find(name)
    assert found.source == f"{NAME}@{commit}"
    assert len(list(read_texts(found, "text"))) == texts


def test_what_the_cache_does_not_have_offline_is_looked_for_by_name_and_place(
    cache: Path, find: Callable[[str], Any]
) -> None:
    for name in ("somebody/else", f"{NAME}@v2"):
        with pytest.raises(BadInput) as refusal:
            find(name)
        for words in (
            f"corpus.paths: expected a file or folder {name}, or a data set of that name on the hub",
            f"nothing whole in {cache.parent}",
            "HF_HUB_OFFLINE",
            "`hf download`",
        ):
            assert words in str(refusal.value)


@pytest.mark.parametrize("pattern", ["nothing-*", "cover.png"])
def test_files_that_hold_no_texts_are_refused_with_what_is_there(
    cache: Path, find: Callable[[str], Any], pattern: str
) -> None:
    with pytest.raises(
        BadInput, match=r"expected files .* in the data set .* found README\.md.*somebody/tiny-books:PATTERN"
    ):
        find(f"{NAME}:{pattern}")


def test_a_path_is_never_asked_for_on_the_hub(
    cache: Path, make_job: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path.parent)
    job = make_job().relative_to(tmp_path.parent)
    assert read_job(job, [f'corpus.paths=["{NAME}", "{NAME}@v1:data/"]']).corpus.paths == (NAME, f"{NAME}@v1:data/")
    for path in ("books", "books/one.txt", "./books/one", "a/b/c", "books/"):
        (resolved,) = read_job(job, [f'corpus.paths=["{path}"]']).corpus.paths
        assert Path(resolved) == tmp_path.relative_to(tmp_path.parent) / path
        assert not is_dataset_name(resolved)
    (tmp_path / "somebody" / "tiny-books").mkdir(parents=True)
    assert read_job(job, [f'corpus.paths=["{NAME}"]']).corpus.paths == (f"{tmp_path.name}/{NAME}",)


def test_the_commit_is_in_the_record(
    cache: Path, make_job: Callable[..., Path], direct_run: Callable[..., Any]
) -> None:
    run, job = direct_run(), read_job(make_job(), [f'corpus.paths=["{NAME}:data/"]'])
    inputs = resolve(job, run.workspace.hashes)
    record = run.workspace.record(run(corpus, inputs.corpus, "text"))
    assert record["sources"] == {inputs.corpus.fingerprint: f"{NAME}@{COMMIT}"}
