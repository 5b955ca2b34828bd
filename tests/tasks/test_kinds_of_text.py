"""Held-out text of several kinds: each has a perplexity of its own, and must stay as likely as the stop rule says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.outcomes import measures
from flows.inputs import resolve
from flows.job import read_job
from storage.errors import BadInput
from tasks.choice import StopRule, conditions
from tasks.contents import evaluation_rows
from tasks.corpus import corpus
from tasks.dictionary import dictionary
from tasks.engine.runner import Direct
from tasks.evaluation import evaluation

PROSE, LISTS = "The river runs past the mill and the old bridge. " * 20, "1, 2, 3; 4, 5, 6; 7, 8, 9; " * 20


@pytest.fixture
def kinds(tmp_path: Path) -> list[str]:
    """`evaluation.heldout` of prose and of lists."""
    for name, text in (("prose", PROSE), ("lists", LISTS)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": text}))
    return [str(tmp_path / "prose.jsonl"), str(tmp_path / "lists.jsonl")]


def evaluated(run: Direct, job: Path, heldout: list[str]) -> list[dict[str, object]]:
    """Rows of `evaluations` of the job's own model, with this text held out."""
    asked = read_job(job, [f"evaluation.heldout={json.dumps(heldout)}", "evaluation.suite.prompts=4"])
    inputs = resolve(asked, run.workspace.hashes)
    texts = run(corpus, inputs.corpus, asked.corpus.text_column)
    words = run(dictionary, texts, inputs.dictionary)
    suite = asked.evaluation.suite
    made = run(evaluation, inputs.baseline, "baseline", None, texts, words, inputs.evidence, suite)
    return list(evaluation_rows(run.workspace.path(made)))


def test_every_kind_has_its_own_perplexity_beside_that_of_all(
    make_job: Callable[..., Path], direct_run: Callable[..., Direct], kinds: list[str]
) -> None:
    run, job = direct_run(), make_job()
    both, prose, lists = (measures(evaluated(run, job, heldout)) for heldout in (kinds, kinds[:1], kinds[1:]))
    assert list(both)[2:5] == ["perplexity", "perplexity prose", "perplexity lists"]
    assert (both["perplexity prose"], both["perplexity lists"]) == (prose["perplexity"], lists["perplexity"])
    low, high = sorted((prose["perplexity"], lists["perplexity"]))
    assert low < both["perplexity"] < high
    assert "perplexity prose" not in prose


def test_the_stop_rule_holds_for_every_kind() -> None:
    row = {"metric": "perplexity", "step": None, "model": "baseline"}
    rows = [row | {"task": task, "value": 10.0} for task in ("", "prose", "lists")]
    rows += [r | {"model": "student", "step": 8, "value": 10.5 if r["task"] == "lists" else 10.1} for r in rows]
    held = {c.sentence.partition(" rose")[0]: c.held for c in conditions(rows, 8, StopRule(perplexity_percent=3))}
    assert held == {"perplexity": True, "perplexity, prose": True, "perplexity, lists": False}


def test_a_kind_without_text_is_refused_before_anything_runs(
    make_job: Callable[..., Path], direct_run: Callable[..., Direct], kinds: list[str]
) -> None:
    Path(kinds[1]).write_text(json.dumps({"text": " "}))
    with pytest.raises(BadInput, match=r"evaluation\.heldout: expected text, found none in \S+lists\.jsonl"):
        evaluated(direct_run(), make_job(), kinds)


def test_kinds_of_one_name_go_by_their_paths(
    make_job: Callable[..., Path], direct_run: Callable[..., Direct], kinds: list[str], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    same = str(Path(kinds[1]).rename(tmp_path / "other" / "prose.jsonl"))
    inputs = resolve(
        read_job(make_job(), [f"evaluation.heldout={json.dumps([kinds[0], same])}"]), direct_run().workspace.hashes
    )
    assert list(inputs.evidence.kinds) == [kinds[0], same]
