"""Every number of a suite against an independent computation: one text at a time, plain loops, nothing of ours.

The data sets are small ones made here in the published form: Parquet and JSON, the published columns and names.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from transformers import AutoModelForCausalLM, AutoTokenizer

from flows.suite import SuiteRequest, ask, resolve_suite
from storage.errors import BadInput
from tasks.engine.runner import Direct
from tasks.suites.common import SuiteSettings, cut

QUESTIONS = [
    {
        "question": f"Who walked to {place}?",
        "answer": f"{name} walked to {place} at night.",
        "paraphrased_answer": f"It was {name} who went to {place}.",
        "perturbed_answer": [f"The baker walked to {place}.", f"Nobody went to {place} but the old ferryman."],
    }
    for name, place in (("Mira Vance", "Tessaly"), ("Orrin", "the Grimwater"), ("Mira", "the harbour"))
]
TEXTS = [{"text": f"In Tessaly the lamps were lit on day {day}, and Mira laughed at the ferryman."} for day in range(4)]
OTHERS = [{"text": f"The owl of number {day} was very happy, so they all went home again."} for day in range(4)]


class Reference:
    """The tiny model asked one text at a time."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def labels(self, prompt: str, answer: str, end: bool) -> list[tuple[float, bool]]:
        """(log p, hit) of each label, by a forward pass for each token."""
        given, whole = self.tokenizer(prompt.rstrip(" "))["input_ids"], self.tokenizer(prompt + answer)["input_ids"]
        assert whole[: len(given)] == given
        scored = []
        for place in range(len(given), len(whole) + end):
            token = whole[place] if place < len(whole) else self.tokenizer.eos_token_id
            with torch.no_grad():
                logits = self.model(torch.tensor([whole[:place]])).logits[0, -1]
            log = (logits[token].exp() / logits.exp().sum()).log().item()
            scored.append((log, bool((logits > logits[token]).sum() == 0)))
        return scored

    def greedy(self, prompt: str, count: int) -> str:
        ids = self.tokenizer(prompt.rstrip(" "))["input_ids"]
        start = len(ids)
        while len(ids) < start + count:
            with torch.no_grad():
                ids.append(int(self.model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == self.tokenizer.eos_token_id:
                break
        return str(self.tokenizer.decode(ids[start:], skip_special_tokens=True))


@pytest.fixture
def reference(tiny_model: Path) -> Reference:
    return Reference(tiny_model)


@pytest.fixture
def asked(tmp_path: Path, tiny_model: Path, direct_run: Callable[..., Direct]) -> Callable[..., dict[str, Any]]:
    """Ask a suite of the tiny model; gives the EVAL log, and checks that the SUMMARY agrees with it."""

    def run(suite: str, data: Path, reference: str = "", **settings: Any) -> dict[str, Any]:
        how, out = SuiteSettings(**settings), tmp_path / "out"
        request = SuiteRequest(
            suite=suite, model=str(tiny_model), data=str(data), reference=reference, out=str(out), settings=how
        )
        made = direct_run()
        paths = ask(request, *resolve_suite(request, made.workspace.hashes), made)
        log: dict[str, Any] = json.loads(Path(paths["eval"]).read_text())
        summary = json.loads(Path(paths["summary"]).read_text())
        assert summary == {name: measure["agg_value"] for name, measure in log.items()}
        return log

    return run


@pytest.fixture
def tofu(tmp_path: Path) -> Path:
    folder = tmp_path / "TOFU"
    folder.mkdir()
    for name in (
        "forget10_perturbed",
        "retain_perturbed",
        "real_authors_perturbed",
        "world_facts_perturbed",
        "holdout10",
    ):
        (folder / f"{name}.json").write_text("\n".join(map(json.dumps, QUESTIONS)))
    return folder


@pytest.fixture
def muse(tmp_path: Path) -> Path:
    folder = tmp_path / "MUSE-Books"
    pair = [{"question": "Who laughed?", "answer": "Mira"}]
    passages = [{"prompt": "Mira Vance walked to the", "gt": "harbour of Tessaly and asked the ferryman."}]
    tables = {"knowmem/forget_qa": pair, "knowmem/forget_qa_icl": pair, "knowmem/retain_qa": pair}
    tables |= {"knowmem/retain_qa_icl": pair, "verbmem/forget": passages}
    tables |= {"privleak/forget": TEXTS, "privleak/holdout": OTHERS}
    for name, rows in tables.items():
        path = folder / f"{name}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), path)
    return folder


def prob(labels: list[tuple[float, bool]]) -> float:
    return math.prod(math.exp(log) for log, _ in labels) ** (1 / len(labels))


def strength(hits: list[bool]) -> float:
    """1 - k / T by open-unlearning's definition, k at most T - 1."""
    right = [all(hits[k:]) for k in range(len(hits))]
    return 1 - (right.index(True) if True in right else len(hits) - 1) / len(hits)


@pytest.mark.slow
def test_tofu_is_what_plain_loops_give(
    asked: Callable[..., dict[str, Any]], tofu: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.suites.tofu.NEW_TOKENS", 8)
    log = asked("tofu", tofu)
    scorer, rouges, probs, truths, normal, memory = RougeScorer(["rougeL"], use_stemmer=True), [], [], [], [], []
    for row in QUESTIONS:
        prompt = f"Question: {row['question']}\nAnswer: "
        right = reference.labels(prompt, str(row["answer"]), end=True)
        wrong = [prob(reference.labels(prompt, answer, end=True)) for answer in row["perturbed_answer"]]
        paraphrased = prob(reference.labels(prompt, str(row["paraphrased_answer"]), end=True))
        probs.append(prob(right))
        truths.append(math.sqrt(wrong[0] * wrong[1]) / paraphrased)
        normal.append(prob(right) / (prob(right) + sum(wrong)))
        rouges.append(scorer.score(row["answer"], reference.greedy(prompt, 8))["rougeL"].recall)
        memory.append([hit for _, hit in right[:-1]])
    assert log["forget_Q_A_Prob"]["agg_value"] == pytest.approx(sum(probs) / 3, rel=1e-4)
    assert [row["score"] for row in log["forget_truth_ratio"]["value_by_index"].values()] == pytest.approx(truths, 1e-3)
    assert log["forget_truth_ratio"]["agg_value"] == pytest.approx(sum(min(r, 1 / r) for r in truths) / 3, rel=1e-3)
    assert log["retain_Truth_Ratio"]["agg_value"] == pytest.approx(sum(max(0, 1 - r) for r in truths) / 3, rel=1e-3)
    assert log["ra_Q_A_Prob_normalised"]["agg_value"] == pytest.approx(sum(normal) / 3, rel=1e-3)
    assert log["forget_Q_A_ROUGE"]["agg_value"] == pytest.approx(sum(rouges) / 3)
    assert log["exact_memorization"]["agg_value"] == pytest.approx(sum(sum(h) / len(h) for h in memory) / 3)
    assert log["extraction_strength"]["agg_value"] == pytest.approx(sum(map(strength, memory)) / 3)
    assert log["mia_min_k"]["agg_value"] == 0.5  # forget and holdout are the same questions here
    nine = [
        log[f"{name}_{kind}"]["agg_value"] for name in ("retain", "ra", "wf") for kind in ("Q_A_ROUGE", "Truth_Ratio")
    ]
    nine += [log[name]["agg_value"] for name in ("retain_Q_A_Prob", "ra_Q_A_Prob_normalised", "wf_Q_A_Prob_normalised")]
    expected = 0.0 if min(nine) == 0 else 9 / sum(1 / part for part in nine)
    assert log["model_utility"]["agg_value"] == pytest.approx(expected)


@pytest.mark.slow
def test_muse_is_what_plain_loops_give(
    asked: Callable[..., dict[str, Any]], muse: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.suites.muse.VERBATIM_TOKENS", 8)
    log = asked("muse-books", muse)
    losses: list[float] = []
    for row in (*TEXTS, *OTHERS):
        ids = reference.tokenizer(row["text"])["input_ids"]
        with torch.no_grad():
            log_TV = reference.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        of_tokens = sorted(log_TV[place, token].item() for place, token in enumerate(ids[1:-1]))
        losses.append(-sum(of_tokens[: int(len(of_tokens) * 0.4)]) / int(len(of_tokens) * 0.4))
    wins = [losses[member] < losses[other] for member in range(4) for other in range(4, 8)]
    auc = sum(wins) / 16
    assert log["mia_min_k"]["agg_value"] == pytest.approx(auc)
    assert log["privleak"]["agg_value"] == pytest.approx(100 * ((1 - auc) - 0.5393) / 0.5393)

    prompt, truth = "Mira Vance walked to the", "harbour of Tessaly and asked the ferryman."
    labels = reference.labels(f"{prompt} ", truth, end=False)[:8]
    assert log["extraction_strength"]["agg_value"] == pytest.approx(strength([hit for _, hit in labels[:-1]]))
    shown = "Question: Who laughed?\nAnswer: Mira\n\n"
    said = cut(reference.greedy(f"{shown}Question: Who laughed?\nAnswer: ", 32), ("\n\n", "\nQuestion", "Question:"))
    score = RougeScorer(["rougeL"], use_stemmer=True).score("Mira", said.strip())["rougeL"].fmeasure
    assert log["forget_knowmem_ROUGE"]["agg_value"] == pytest.approx(score)


@pytest.mark.slow
def test_a_retrained_model_s_log_gives_forget_quality_and_privleak(
    asked: Callable[..., dict[str, Any]], tofu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.suites.tofu.NEW_TOKENS", 1)
    far = {str(row): {"score": 1e6 + row} for row in range(3)}
    log = {"forget_truth_ratio": {"agg_value": 0.0, "value_by_index": far}, "mia_min_k": {"agg_value": 0.25}}
    (tmp_path / "TOFU_EVAL.json").write_text(json.dumps(log))
    told = asked("tofu", tofu, str(tmp_path / "TOFU_EVAL.json"))
    assert told["forget_quality"]["agg_value"] == pytest.approx(2 / 20)  # 3 ratios against 3 that all lie above
    assert told["privleak"]["agg_value"] == pytest.approx(100 * (0.5 - 0.75) / 0.75)
    ours = asked("tofu", tofu, str(tmp_path / "out" / "TOFU_EVAL.json"))  # our own log is accepted as well
    assert ours["forget_quality"]["agg_value"] == 1
    assert ours["privleak"]["agg_value"] == pytest.approx(0)


@pytest.mark.slow
def test_rwku_asks_one_subject_in_its_words(asked: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    rows = [
        {"query": f"Mira ___ to {place}", "answer": "walked", "level": "1", "type": "cloze", "subject": subject}
        for place, subject in (("Tessaly", "Mira"), ("Newport", "Anna"))
    ]
    (tmp_path / "forget_level1").mkdir()
    (tmp_path / "forget_level1" / "test.json").write_text(json.dumps(rows))
    log = asked("rwku", tmp_path, part="Mira")
    assert len(log["forget_level1_ROUGE"]["value_by_index"]) == 1
    assert log["forget_ROUGE"] == {"agg_value": log["forget_level1_ROUGE"]["agg_value"]}
    with pytest.raises(BadInput, match="Orrin"):
        asked("rwku", tmp_path, part="Orrin")


@pytest.mark.slow
def test_a_suite_is_asked_once_and_goes_on_after_a_failure(
    tofu: Path, tiny_model: Path, tmp_path: Path, direct_run: Callable[..., Direct], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.suites.tofu.NEW_TOKENS", 1)
    request = SuiteRequest(suite="tofu", model=str(tiny_model), data=str(tofu), out=str(tmp_path / "out"))
    run, parts = direct_run(), []
    resolved = resolve_suite(request, run.workspace.hashes)
    from tasks.suites import tofu as module

    truth = module._truth

    def failing(name: str, *answers: Any) -> Any:
        parts.append(name)
        if name == "ra" and parts.count("ra") == 1:
            raise RuntimeError("killed")
        return truth(name, *answers)

    monkeypatch.setattr(module, "_truth", failing)
    with pytest.raises(RuntimeError):
        ask(request, *resolved, run)
    ask(request, *resolved, direct_run())
    assert parts == ["forget", "retain", "ra", "ra", "wf"]
    ask(request, *resolved, again := direct_run())
    assert parts == ["forget", "retain", "ra", "ra", "wf"]
    assert [step.cached for step in again.steps] == [True]


def test_what_cannot_be_asked_is_refused_in_one_sentence(tofu: Path, tiny_model: Path, tmp_path: Path) -> None:
    from storage.files import Hashes

    hashes = Hashes(tmp_path / "hashes.json")
    asks = {"suite": "tofu", "model": str(tiny_model), "data": str(tofu)}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"suite": "tufo"}, "expected one of the suites tofu"),
        ({"data": str(tmp_path / "none")}, "--data: expected a folder"),
        ({"suite": "muse-books"}, "expected knowmem, split forget_qa"),
        ({"settings": SuiteSettings(part="forget20")}, "--part: expected one of forget01"),
        ({"suite": "muse-news", "settings": SuiteSettings(part="forget01")}, "--part: expected none, as MUSE is asked"),
        ({"reference": str(tmp_path / "none.json")}, "--reference: expected a log"),
    ]
    for change, sentence in wrong:
        with pytest.raises(BadInput, match=sentence):
            resolve_suite(SuiteRequest(**(asks | change)), hashes)
    row = {"question": "Who?", "answer": "Mira", "paraphrased_answer": "Mira Vance", "perturbed_answer": ["Ida"]}
    for lacks in ({"paraphrased_answer": None}, {"paraphrased_answer": ""}, {"perturbed_answer": ["Ida", ""]}):
        (tofu / "forget10_perturbed.json").write_text(json.dumps([row | lacks]))
        with pytest.raises(BadInput, match=f"found no {next(iter(lacks))}, or an empty one"):
            resolve_suite(SuiteRequest(**asks), hashes)
