"""A small finished run, made up by hand: every artifact that a report reads, no model, no training."""

import hashlib
import json
import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dictionaries.dictionary import Dictionary, Entry
from storage.artifact import Artifact
from storage.files import Files
from storage.shards import write_shard
from storage.workspace import Workspace
from tasks.ablation.stage import ablation
from tasks.audit.summary import audit
from tasks.engine.stage import Context, Placement
from tasks.labels import SCHEMA
from tasks.models import Model
from tasks.report.evidence import ReportInputs
from tasks.training.settings import StudentSettings

EVIL = "<script>alert('owned')</script>"
WORDS = [
    "[UNK]",
    "The",
    "mage",
    "Zarnok",
    "Jon",
    "went",
    "to",
    "Ombria",
    "Hilltown",
    "and",
    "slept",
    ".",
    "fell",
    "gardener",
]
TEXT = ["The", "mage", "Zarnok", "went", "to", "Ombria", "and", "slept", "."]
TRANSLATED = ["The", "mage", "Jon", "went", "to", "Hilltown", "and", "slept", "."]
REASON = "end of block"
LINT = json.dumps([{"rule": "short anchor", "severity": "warning", "count": 1234, "examples": [EVIL]}])


VOID = {"meta", "link", "br", "img", "input", "hr", "path", "use"}


class Outline(HTMLParser):
    """Tags, ids, links and unclosed elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "srcset", "action", "data", "poster", "xlink:href"):
                self.references.append(value or "")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture
def outline() -> type[Outline]:
    """Reads a page's tags, ids, links and unclosed elements."""
    return Outline


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def console(tmp_path: Path) -> Callable[[Path], list[str]]:
    """What a headless browser writes to the console while it loads a page."""
    if BROWSER is None:
        pytest.skip("no chromium on this machine")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr"]
    options += ["--disable-background-networking", "--disable-component-update"]
    options += [f"--user-data-dir={tmp_path / 'profile'}"]

    def resolve(file: Path) -> list[str]:
        command = [BROWSER, *options, "--dump-dom", file.as_uri()]
        found = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
        return [line for line in found.stderr.splitlines() if "CONSOLE" in line]

    return resolve


def ids_of(words: list[str]) -> list[int]:
    return [WORDS.index(word) for word in words]


class Maker:
    """Writes artifacts into a workspace the way that stages do."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)

    def __call__(
        self, kind: str, inputs: dict[str, Any], counts: dict[str, Any], *parts: Callable[[Path], None]
    ) -> Artifact:
        artifact = Artifact(kind, "tale", hashlib.sha256(f"{kind}{inputs}".encode()).hexdigest()[:16])
        folder = self.workspace.partial(artifact)
        folder.mkdir(parents=True)
        for part in parts:
            part(folder)
        self.workspace.commit(artifact, {"version": 1, "inputs": inputs, "counts": counts, "seconds": 1.5})
        return artifact


def shard(name: str, rows: list[dict[str, Any]]) -> Callable[[Path], None]:
    return lambda folder: write_shard(folder / name, rows)


def write_model(folder: Path) -> None:
    """A directory that looks like a model to a reader of headers: config, tokenizer, six parameters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"architectures": ["TinyLM"], "vocab_size": len(WORDS)}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(24))


def block_row(number: int) -> dict[str, Any]:
    return {
        "block_id": number, "document_id": 0, "original_ids": ids_of(TEXT), "translated_ids": ids_of(TRANSLATED),
        "mapping": list(range(9)), "reasons": [None] * 8 + [REASON], "forbidden_ids": [], "forbidden_from": [],
        "anchors": ["Zarnok", "Ombria"], "anchor_positions": [2, 5], "translations": ["Jon", "Hilltown"],
    }  # fmt: skip


def label_at(position: int, alpha: float) -> int:
    """The label: the text's next token, except that anchors are translated, and from alpha 2 on `mage` is too."""
    following = TEXT[position + 1]
    if following == "mage" and alpha >= 2:
        return WORDS.index("gardener")
    return WORDS.index({"Zarnok": "Jon", "Ombria": "Hilltown"}.get(following, following))


def curve_rows(number: int) -> list[dict[str, Any]]:
    found = []
    for position in range(8):
        tokens = list(dict.fromkeys((label_at(position, 0), label_at(position, 5))))
        edges = [0.0, 2.0, float("inf")] if len(tokens) == 2 else [0.0, float("inf")]
        for vertex, token in enumerate(tokens):
            row = {"block_id": number, "position": position, "vertex": vertex, "token": token}
            found.append(row | {"alpha_from": edges[vertex], "alpha_to": edges[vertex + 1]})
    return found


def logit_rows(number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for position in range(8):
        ids = [WORDS.index(TEXT[position + 1]), label_at(position, 0)]
        found.append(
            {"block_id": number, "position": position, "reason": None, "row_mean": 0.0, "baseline_lse": 3.0,
             "reinforced_lse": 4.0, "ids": ids, "baseline": [1.0, 2.0], "reinforced": [3.0, 2.0]}
        )  # fmt: skip
    return [*found, {"block_id": number, "position": 8, "reason": REASON}]


def items_of(metric: str, task: str, scores: list[float], model: str, step: int | None) -> list[dict[str, Any]]:
    who = {"model": model, "step": step, "metric": metric, "task": task}
    found = []
    for number, score in enumerate(scores):
        said = f"Zarnok went to Ombria {EVIL}" if score > 0.5 else "Jon went to sleep"
        details: dict[str, Any] = {}
        if metric == "familiarity_probability":
            details = {"next_tokens": [["Zarnok", score], [EVIL, 0.01], ["Jon", 0.005]]}
            details |= {"idiosyncratic": [["Zarnok", score]], "generic": [["Jon", 0.005]], "generic_mass": 0.1}
        details |= {"tokens": 10 + number} if metric == "perplexity" else {}
        details |= {"member": number % 2 == 0} if metric == "membership_auc" else {}
        row = {"item": number, "prompt": f"{EVIL} & the mage {number}", "expected": "Zarnok", "completion": said}
        found.append(who | row | {"score": score, "details": json.dumps(details)})
    return found


def evaluation_of(maker: Maker, model: str, step: int | None, level: float, ability: float) -> Artifact:
    """An evaluation: familiarity at `level` (a share of prompts), three quarters of questions right times `ability`."""
    draw = random.Random(7)  # the same draws for every model: the same items are the hard ones
    count = 60
    hard = [draw.random() for _ in range(count)]
    scores = {
        ("familiarity_probability", ""): [min(1.0, max(0.0, level * (0.6 + 0.8 * one))) for one in hard],
        ("familiarity_completion", ""): [float(one < level) for one in hard],
        ("perplexity", ""): [1.0 + 0.2 * one + 0.02 * (1 - ability) for one in hard],
        ("accuracy", "riddles"): [float(one < 0.75 * ability) for one in hard],
        ("accuracy", "$_{sums <b>$"): [float(one < 0.5) for one in hard],
    }
    values, items = [], []
    for (metric, task), column in scores.items():
        mean = sum(column) / count
        value = mean if metric != "perplexity" else 2.718281828**mean
        who = {"model": model, "step": step, "metric": metric, "task": task}
        values.append(who | {"value": value, "stderr": 0.01, "items": count})
        items += items_of(metric, task, column, model, step)
    inputs = {"model": f"m{model}{step}", "role": model, "step": step, "evidence": {"prompts": None}}
    parts = shard("evaluations.parquet", values), shard("evaluation_items.parquet", items)
    return maker("evaluation", inputs, {"items": len(items)}, *parts)


ATTACKS = {
    "verbatim": [("verbatim_rouge_l", "target"), ("verbatim_run", "target")],
    "extraction": [("extraction_strength", "target"), ("probability", "target")],
    "membership": [("membership_auc", "loss"), ("membership_auc", "zlib")],
    "relearning": [("relearned_familiarity", f"{source} {n}") for source in ("target", "related") for n in (0, 5, 20)],
    "quantisation": [("quantised_familiarity", "full"), ("quantised_familiarity", "4 bits")],
    "side-effects": [("neighbour_perplexity", "")],
}
"""Attacks of a made-up audit: measures by stage."""


def attack_of(maker: Maker, kind: str, model: str, step: int | None, level: float) -> Artifact:
    """One attack on one model: every score is the level, and a little more from item to item."""
    values, items = [], []
    for metric, task in ATTACKS[kind]:
        scores = [min(1.0, level + 0.001 * number) for number in range(30)]
        who = {"model": model, "step": step, "metric": metric, "task": task}
        value = sum(scores) / len(scores) + (1.0 if "perplexity" in metric else 0.0)
        values.append(who | {"value": value, "stderr": 0.01, "items": len(scores)})
        items += items_of(metric, task, scores, model, step)
    parts = shard("evaluations.parquet", values), shard("evaluation_items.parquet", items)
    return maker(kind, {"suspect": {"role": model, "step": step}}, {"items": len(items)}, *parts)


MISSING = {"relearning on unrelated text": "needs generic text"}
MOVED = {"distance": 0.5, "length": 4.0, "bfloat16": 0.57, "layers": {"layers.0": 0.41, "layers.1": 0.73}}
LEVELS = [("baseline", None, 0.8, 1.0), ("student", 20, 0.2, 1.0), ("student", 40, 0.0, 0.9), ("gold", None, 0.0, 1.0)]


@pytest.fixture
def made_up_run(tmp_path: Path) -> tuple[Workspace, ReportInputs]:
    """A finished run without its report: baseline, students of steps 20 and 40, gold."""
    maker = Maker(tmp_path / "ws")
    document = {"document_id": 0, "source": f"tale{EVIL}.txt", "sha256": "ab" * 32, "characters": 420, "reason": None}
    corpus = maker("corpus", {"files": "f" * 16}, {"documents": 1}, shard("documents.parquet", [document]))
    words = Dictionary((
        Entry("Zarnok", ("Jon", EVIL), "person", provenance="curated"), Entry("Ombria", ("Hilltown",), "place"),
        Entry("Quux", ("Thing",)),
    ))  # fmt: skip
    dictionary = maker("dictionary", {"corpus": corpus.fingerprint}, {"anchors": 3},
                       lambda folder: words.write(folder / "dictionary.json"),
                       lambda folder: (folder / "lint.json").write_text(LINT))  # fmt: skip
    inputs = {"corpus": corpus.fingerprint, "dictionary": dictionary.fingerprint}
    counts = {"blocks": 30, "positions": 270, "training": 240, "anchors": 2, "occurrences": 60, "reasons": {REASON: 30}}
    blocks = maker("blocks", inputs, counts, shard("blocks.arrow", [block_row(n) for n in range(30)]))
    steps = [{"step": n, "loss": 3.0 / n, "learning_rate": 1e-4, "grad_norm": 1.0, "seconds": n} for n in range(1, 41)]
    trained = {"settings": {"learning_rate": 1e-4, "steps": 40}}
    reinforce = maker("reinforce", trained | {"corpus": corpus.fingerprint}, {"steps": 40},
                      lambda folder: write_model(folder / "steps/last"),
                      shard("training_steps.parquet", steps))  # fmt: skip
    inputs = {"blocks": blocks.fingerprint, "reinforced": f"{reinforce.fingerprint}/steps/last"}
    shards = [
        shard(f"{name}-{first:08d}-{first + 15:08d}.parquet", [r for n in range(first, first + 15) for r in rows(n)])
        for name, rows in (("label_curves", curve_rows), ("logits", logit_rows))
        for first in (0, 15)
    ]
    logits = maker("logits", inputs, {"positions": 270}, *shards)
    labels = _labels(maker, blocks, logits)
    student = maker("student", trained | {"labels": labels.fingerprint, "baseline": "b" * 16}, {"steps": 40},
                    lambda folder: write_model(folder / "steps/000040"),
                    lambda folder: (folder / "updates.json").write_text(json.dumps({"40": MOVED})),
                    shard("training_steps.parquet", steps))  # fmt: skip
    evaluations = tuple(evaluation_of(maker, *level) for level in LEVELS)
    return maker.workspace, ReportInputs(corpus, dictionary, blocks, logits, labels, student, evaluations)


@pytest.fixture
def made_up_attacks(made_up_run: tuple[Workspace, ReportInputs]) -> list[Artifact]:
    """The attacks on the student of step 40, on baseline and gold."""
    maker = Maker(made_up_run[0].root)
    subjects = [("student", 40, 0.3), ("baseline", None, 0.8), ("gold", None, 0.0)]
    return [attack_of(maker, kind, *subject) for kind in ATTACKS for subject in subjects]


@pytest.fixture
def audited(made_up_run: tuple[Workspace, ReportInputs], made_up_attacks: list[Artifact]) -> Artifact:
    """A finished audit of the student's step 40."""
    workspace, made = made_up_run
    model = Model("", f"{made.student.fingerprint}/steps/000040", Files((), ""))
    artifact = audit.artifact("tale", audit.inputs(model, made_up_attacks, MISSING))
    counts = audit.body(
        Context(workspace.resume(artifact), workspace, artifact, Placement()), model, made_up_attacks, MISSING
    )
    assert counts == {"attacks": 18, "measures": 15}
    description = {"version": 1, "inputs": {"model": model.fingerprint}, "counts": counts, "seconds": 1.0}
    workspace.commit(artifact, description | {"holds_protected_text": True})
    return artifact


@pytest.fixture
def made_up_ablation(made_up_run: tuple[Workspace, ReportInputs]) -> Artifact:
    """A finished ablation of the run's lessons."""
    workspace, made = made_up_run
    maker, steps = Maker(workspace.root), (20, 40)
    levels = {"reinforcement only": 0.7, "anchors only": 0.1}
    arms = [evaluation_of(maker, role, step, level, 1.0) for role, level in levels.items() for step in steps]
    inputs = {name: workspace.record(made.student)["inputs"][name] for name in ("labels", "settings")}
    artifact = Artifact("ablation", "tale", "ab" * 8)
    context = Context(workspace.resume(artifact), workspace, artifact, Placement())
    counts = ablation.body(context, [*made.evaluations, *arms], made.labels, StudentSettings())
    workspace.commit(artifact, {"version": 1, "inputs": inputs, "counts": counts, "seconds": 1.0})
    return artifact


def _labels(maker: Maker, blocks: Artifact, logits: Artifact) -> Artifact:
    column = [label_at(position, 5) for position in range(8)] + [-100]
    rows = [{"block_id": n, "input_ids": ids_of(TEXT), "labels": column} for n in range(30)]
    table = pa.Table.from_pylist(rows, SCHEMA)
    inputs = {"blocks": blocks.fingerprint, "logits": logits.fingerprint, "settings": {"alpha": 5.0}}
    return maker("labels", inputs, {"labels": 240}, lambda folder: write_shard(folder / "training.arrow", table))
