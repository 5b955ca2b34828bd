"""Gathering: from finished artifacts to one tree of plain values.

`gather` returns two of them: the evidence (every number of the page, written to evidence.json) and the exhibits (texts
of the corpus and of models, which stay on the page).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dictionaries.matching import Matcher
from storage.artifact import Artifact
from storage.lineage import history
from storage.machine import versions
from storage.reader import Row, reader, rows
from storage.workspace import Workspace
from tasks.contents import ABLATION_EVIDENCE as ABLATION
from tasks.contents import AUDIT_EVIDENCE as AUDIT
from tasks.contents import AUDIT_ITEMS, CHOICE, UPDATES, dictionary_of, lint_of, read_json
from tasks.measure.results import Measure, Subject, final, measured
from tasks.models import model_facts
from tasks.report import items, verdicts, words
from tasks.report.labels import label_facts
from tasks.report.request import Earlier

SCHEMA = 1
DOCUMENTS = 20
LOSSES = 400
STEPS = "training_steps.parquet"

COUNTED = """
SELECT count(*) FILTER (reason IS NULL) AS documents,
       coalesce(sum(characters) FILTER (reason IS NULL), 0)::BIGINT AS characters,
       count(*) FILTER (reason IS NOT NULL) AS dropped FROM read_parquet(?)
"""
LISTED = """
SELECT source, sha256, characters FROM read_parquet(?) WHERE reason IS NULL ORDER BY document_id LIMIT ?
"""
LOSS = """
SELECT step, loss FROM read_parquet($steps)
WHERE step % greatest(1, (SELECT max(step) FROM read_parquet($steps)) // $limit) = 0 OR step = 1 ORDER BY step
"""


@dataclass(frozen=True)
class ReportInputs:
    """The artifacts that a page is about."""

    corpus: Artifact
    dictionary: Artifact
    blocks: Artifact
    logits: Artifact
    labels: Artifact
    student: Artifact
    evaluations: tuple[Artifact, ...]
    choice: Artifact | None = None
    """None: the last step was kept."""
    audit: Artifact | None = None
    """The attacks on the chosen student, where they were made."""
    ablation: Artifact | None = None
    """What each half of the method does alone, where that was tried."""
    earlier: tuple[Earlier, ...] = ()
    """The requests before this one on the same model."""

    def all(self) -> list[Artifact]:
        """In the order of the path, without what was tried afterwards."""
        path = [self.corpus, self.dictionary, self.blocks, self.logits, self.labels, self.student]
        return [*path, *self.evaluations, *([self.choice] if self.choice else [])]

    def further(self) -> list[Artifact]:
        """What was tried afterwards, on earlier requests, too."""
        tried = [artifact for artifact in (self.audit, self.ablation) if artifact]
        for request in self.earlier:
            tried += [*request.evaluations, *([request.audit] if request.audit else [])]
        return tried


def gather(workspace: Workspace, inputs: ReportInputs) -> tuple[Row, Row]:
    """(evidence, exhibits). Memory is bounded whatever the size of the run."""
    records = history(workspace, inputs.all())
    by_print = {row["fingerprint"]: row for row in records}
    with reader() as connection:
        models, measures = measured(connection, [(e.fingerprint, workspace.path(e)) for e in inputs.evaluations])
        evidence: Row = {"schema_version": SCHEMA, "job": inputs.student.name}
        evidence |= {"audit": _read(workspace, inputs.audit, AUDIT)}
        evidence |= {"ablation": _read(workspace, inputs.ablation, ABLATION)}
        choice = _read(workspace, inputs.choice, CHOICE)
        student = final(models, choice["step"] if choice else None)
        forgotten = verdicts.forgetting(measures, student, evidence["audit"])
        evidence |= _results(models, measures, by_print, student, forgotten) | {"choice": choice}
        evidence |= _sources(connection, workspace, inputs, by_print)
        evidence |= _training(connection, workspace, inputs, by_print)
        evidence["moved"] = _update(workspace, by_print[inputs.student.fingerprint], student)
        evidence["earlier"] = [_standing(connection, workspace, request) for request in inputs.earlier]
        exhibits = _exhibits(connection, workspace, inputs, (models, measures, student))
    evidence |= {"record": [_recorded(row) for row in records], "versions": versions()}
    evidence["further"] = [
        _recorded(row) for row in history(workspace, inputs.further()) if row["fingerprint"] not in by_print
    ]
    return evidence, exhibits | {"audit": _read(workspace, inputs.audit, AUDIT_ITEMS) or []}


def _read(workspace: Workspace, artifact: Artifact | None, file: str) -> Any:
    """A JSON file of an artifact; None where that was not made."""
    return read_json(workspace.path(artifact) / file) if artifact else None


def _results(
    models: list[Subject],
    measures: list[Measure],
    by_print: dict[str, Row],
    student: Subject | None,
    forgotten: tuple[str, list[Row]],
) -> Row:
    kept = verdicts.kept(measures, student) if student else []
    first = by_print[models[0].artifact]["inputs"] if models else {}
    return {
        "final": student.key if student else None,
        "models": [_model(model, by_print) for model in models],
        "measures": [measure.row() for measure in measures],
        "forgotten": forgotten[1],
        "kept": [verdict.row("name") for verdict in kept],
        "headlines": [forgotten[0], verdicts.headline_of_keeping(kept)],
        "margins": {
            "familiarity": verdicts.NEGLIGIBLE,
            "ability": verdicts.ABILITY_MARGIN,
            "perplexity": verdicts.PERPLEXITY_MARGIN,
        },
        "suite": first.get("suite"),
        "judge": _judge(by_print),
    }


def _standing(connection: Any, workspace: Workspace, request: Earlier) -> Row:
    """How the chosen model stands to an earlier request: {job, corpus, labels, forgotten, headline, audit}."""
    folders = [(artifact.fingerprint, workspace.path(artifact)) for artifact in request.evaluations]
    models, measures = measured(connection, folders)
    audit = _read(workspace, request.audit, AUDIT)
    headline, judged = verdicts.forgetting(measures, final(models), audit)
    return {
        "job": request.job,
        "corpus": request.corpus.fingerprint,
        "labels": request.labels.fingerprint,
        "forgotten": judged,
        "headline": headline,
        "audit": audit,
    }


def _judge(by_print: dict[str, Row]) -> Row | None:
    """Which language model judged completions, and how many it could grade; None where only the program did."""
    judgements = [row for row in by_print.values() if row["kind"] == "judgement"]
    if not judgements:
        return None
    settings = judgements[0]["inputs"]["judge"]
    graded, total = (sum(row["counts"][name] for row in judgements) for name in ("graded", "items"))
    return {"model": settings["model"], "subject": settings["subject"], "graded": graded, "completions": total}


def _model(model: Subject, by_print: dict[str, Row]) -> Row:
    made_from = by_print[model.artifact]["inputs"].get("model")
    return {"key": model.key, "role": model.role, "step": model.step, "evaluation": model.artifact, "model": made_from}


def _sources(connection: Any, workspace: Workspace, inputs: ReportInputs, by_print: dict[str, Row]) -> Row:
    documents = str(workspace.path(inputs.corpus) / "documents.parquet")
    (counted,) = rows(connection, COUNTED, [documents])
    listed = rows(connection, LISTED, [documents, DOCUMENTS])
    student, blocks = by_print[inputs.student.fingerprint], by_print[inputs.blocks.fingerprint]
    words_used = dictionary_of(workspace.path(inputs.dictionary))
    return {
        "corpus": counted | {"listed": listed, "files": by_print[inputs.corpus.fingerprint]["inputs"].get("files")},
        "model": model_facts(_kept_steps(workspace, inputs)[-1])
        | {
            "baseline": student["inputs"].get("baseline"),
            "weights": {
                name: file["sha256"] for name, file in sorted(student["files"].items()) if name.endswith(".safetensors")
            },
        },
        "positions": blocks["counts"],
        "dictionary": words.dictionary_facts(connection, words_used, workspace.path(inputs.blocks)),
        "lint": lint_of(workspace.path(inputs.dictionary)),
    }


def _training(connection: Any, workspace: Workspace, inputs: ReportInputs, by_print: dict[str, Row]) -> Row:
    alpha = by_print[inputs.labels.fingerprint]["inputs"]["settings"]["alpha"]
    paths = [workspace.path(artifact) for artifact in (inputs.blocks, inputs.logits, inputs.labels)]
    facts = label_facts(connection, paths[0], paths[1], paths[2], alpha)
    decoder = words.Decoder(_kept_steps(workspace, inputs)[-1])
    for row in facts["away"] + facts["towards"]:
        row["shown"] = decoder.token(row["token"])
        row["instead"] = [decoder.token(other["label"]) for other in row["instead"]]
    trained = {row["kind"]: row for row in by_print.values() if row["kind"] in ("reinforce", "student")}
    return {
        "alpha": alpha,
        "labels": facts,
        "training": {
            kind: {
                "settings": row["inputs"]["settings"],
                "counts": row["counts"],
                "losses": _losses(connection, workspace, row),
            }
            for kind, row in trained.items()
        },
        "seconds": sum(row["seconds"] for row in by_print.values()),
    }


def _update(workspace: Workspace, row: Row, student: Subject | None) -> Row | None:
    """How far the chosen student's weights are from the baseline's; None where that was not looked at."""
    if student is None or UPDATES not in row["files"]:
        return None
    updates: Row = read_json(workspace.path(Artifact.of(row), [UPDATES]) / UPDATES)
    return updates.get(str(student.step))


def _losses(connection: Any, workspace: Workspace, row: Row) -> list[Row]:
    if STEPS not in row["files"]:
        return []
    steps = workspace.path(Artifact.of(row), [STEPS]) / STEPS
    return rows(connection, LOSS, {"steps": str(steps), "limit": LOSSES})


def _exhibits(
    connection: Any,
    workspace: Workspace,
    inputs: ReportInputs,
    results: tuple[list[Subject], list[Measure], Subject | None],
) -> Row:
    models, measures, student = results
    dictionary = dictionary_of(workspace.path(inputs.dictionary))
    decoder = words.Decoder(_kept_steps(workspace, inputs)[-1])
    exhibits: Row = {"passages": words.passages(connection, dictionary, decoder, workspace.path(inputs.blocks))}
    if student is None:
        return exhibits | {"examples": [], "next_tokens": [], "items": []}
    exhibits["examples"], matcher = items.examples(connection, measures, models, student), Matcher(dictionary)
    for item in exhibits["examples"]:
        for answer in item["answers"]:
            answer["pieces"] = words.marked(matcher, answer["completion"])
    exhibits["next_tokens"] = items.next_tokens(connection, measures, models, student)
    exhibits["items"] = items.exhibits(connection, measures, models, student)
    return exhibits


def _kept_steps(workspace: Workspace, inputs: ReportInputs) -> list[Path]:
    return sorted((workspace.path(inputs.student) / "steps").iterdir())


def _recorded(row: Row) -> Row:
    names = ("kind", "folder", "fingerprint", "version", "inputs", "counts", "seconds", "made", "files")
    return {name: row.get(name) for name in names}
