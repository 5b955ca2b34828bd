"""export: the chosen student as a directory to publish: the model, its card, the record.

Card and record know the text by hashes only; the report, which quotes it, stays in the workspace.
"""

import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from storage.artifact import Artifact
from storage.errors import BadInput, DamagedArtifact
from storage.files import files_named, listed, open_as_folder, require_empty, sha256_of, whole_folder
from storage.lineage import history
from storage.locks import who
from storage.shards import read_shard
from storage.workspace import Workspace
from tasks.contents import DICTIONARY, REPORT_EVIDENCE, Row, read_json, step_folder
from tasks.hub import is_hub_name
from tasks.models import config_of, hashes_of_model, model_by_fingerprint
from tasks.report import card
from tasks.report.record import (
    FILE,
    Anchors,
    Attack,
    Audit,
    EarlierRequest,
    Record,
    Result,
    Stored,
    Text,
    Weights,
    made_of,
    seeds_in,
)

DOCUMENTS = "documents.parquet"


@dataclass(frozen=True)
class Form:
    """How weights are written."""

    dtype: str = "float32"
    """float32: as they were trained and are kept. bfloat16: those rounded stochastically."""
    seed: int = 0
    """Of the rounding."""


def export(workspace: Workspace, report: Artifact, folder: Path, hub: card.Hub, form: Form = Form()) -> Row:
    """Write model, README.md and record into `folder`, which must be new or empty. Returns where they lie.

    Raises BadInput for a folder with something in it, a run without a student to export, another form, or a
    name that the hub cannot have; DamagedArtifact for a model whose bytes are not the recorded ones.
    """
    if form.dtype not in ("float32", "bfloat16"):
        raise BadInput(f"expected float32 or bfloat16 as the form of the weights, found {form.dtype!r}")
    if hub.base_model and not is_hub_name(hub.base_model):
        raise BadInput(f"--base-model: expected owner/name as on the hub, found {hub.base_model!r}")
    require_empty(folder)
    evidence = read_json(workspace.path(report) / REPORT_EVIDENCE)
    record = record_of(workspace, report, evidence)
    hub = replace(hub, base_model=hub.base_model or record.baseline.source.partition("@")[0] or None)
    student, part = workspace.find("student", record.unlearned.fingerprint), step_folder(record.unlearned.step or 0)
    assert student  # the record was made from it
    model = workspace.path(student, [f"{part}/{name}" for name in record.unlearned.files]) / part
    with whole_folder(folder) as partial:
        for name, path in files_named(model).items():  # not by copytree, whose errors do not say what the disk did
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, partial / name)
        if changed := _changed(partial, record):  # before weights are rounded, whose bytes nobody knows
            raise DamagedArtifact.of(f"{student.folder}/{part}", workspace.address, changed)
        record = _stored(record, partial, _folder_of_baseline(workspace, record), form)
        (partial / FILE).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (partial / "README.md").write_text(card.card(record, evidence, hub, folder.name), encoding="utf-8")
        open_as_folder(partial)
    return {"model": str(folder), "card": str(folder / "README.md"), "record": str(folder / FILE)}


def _stored(record: Record, folder: Path, baseline: Path | None, form: Form) -> Record:
    """The record with the form of the weights that it travels with, which are rounded here where that is wanted."""
    kept_in = str(config_of(folder).get("dtype") or "float32")
    if form.dtype == kept_in or form.dtype == "float32":
        return record.model_copy(update={"stored": Stored(dtype=kept_in, kept=1.0 if kept_in == "float32" else None)})
    from tasks.report.rounding import round_model

    share = round_model(folder, baseline, form.seed)
    files = {name: sha256_of(folder / name) for name in record.unlearned.files}
    stored = Stored(dtype=form.dtype, seed=form.seed, kept=share.whole, layers=share.layers)
    unlearned = record.unlearned.model_copy(update={"files": files})
    return record.model_copy(update={"stored": stored, "unlearned": unlearned})


def _folder_of_baseline(workspace: Workspace, record: Record) -> Path | None:
    """Where the baseline lies: an artifact's part, or a folder of the user's; None where it is not at hand."""
    fingerprint, _, part = record.baseline.fingerprint.partition("/")
    if part:
        artifact = next((other for other in workspace.all() if other.fingerprint == fingerprint), None)
        return workspace.path(artifact) / part if artifact else None
    model = model_by_fingerprint(fingerprint, workspace.hashes, record.baseline.source)
    return Path(model.path) if model else None


def verify_export(folder: Path) -> int:
    """How many files of an exported model are as its record says.

    Raises DamagedArtifact where one is not, or one is there that the record does not name: a file beside the weights
    can change which model is loaded. Card, record and hidden files (the hub's clients add some) may be there.
    """
    try:
        record = Record.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise BadInput(
            f"expected an exported model with its {FILE} in {folder}, found none that can be read"
        ) from error
    if changed := _changed(folder, record):
        raise DamagedArtifact(
            f"{folder}: expected the bytes that {FILE} describes, found others, or none, in {', '.join(changed)}: "
            "get it again from where it was exported"
        )
    if added := _added(folder, record):
        raise DamagedArtifact(
            f"{folder}: expected the files that {FILE} names and no others, found {', '.join(added)}: "
            "take them away, or get it again from where it was exported"
        )
    return len(record.unlearned.files)


def _changed(folder: Path, record: Record) -> list[str]:
    """The files of the model in a folder that are not as its record says."""
    files = record.unlearned.files.items()
    return [name for name, sha256 in files if not (folder / name).is_file() or sha256_of(folder / name) != sha256]


def _added(folder: Path, record: Record) -> list[str]:
    """What lies in a folder, not hidden, that its record does not name."""
    names = [path.relative_to(folder) for path in listed(folder, "**") if path.is_symlink() or not path.is_dir()]
    seen = [name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)]
    return [name for name in seen if name not in (*record.unlearned.files, "README.md", FILE)]


def record_of(workspace: Workspace, report: Artifact, evidence: Row) -> Record:
    """The record of the run behind a report. Raises DamagedArtifact where it is not the one that was drawn."""
    workspace.verify(report)
    if not evidence["final"]:
        raise BadInput(f"expected a run with an unlearned model to export, found none behind {report.folder}")
    rows = history(workspace, [report])[:-1]  # sources first, the report itself last
    sources = _behind(workspace, report, rows)
    heavy = [row["seconds"] for row in rows if row.get("device") == "cuda"]
    return Record(
        exported_at=datetime.now(UTC).isoformat(timespec="seconds"),
        exported_by=who(),
        text=_text(workspace, sources["corpus"], evidence),
        dictionary=_anchors(sources["dictionary"], evidence),
        baseline=_given(workspace, evidence["model"]["baseline"], rows),
        reinforced=_weights(sources["reinforced"], "steps/last/", None) if "reinforced" in sources else None,
        unlearned=_weights(sources["student"], f"{step_folder(_step(evidence))}/", _step(evidence)),
        choice=tuple((evidence.get("choice") or {"reasons": ["The last step was kept."]})["reasons"]),
        verdicts=tuple(evidence["headlines"]),
        results=tuple(_results(evidence)),
        audit=_audit(sources.get("audit"), evidence.get("audit")),
        earlier=tuple(_earlier(workspace, request) for request in evidence.get("earlier", ())),
        untested=tuple(evidence["untested"]),
        seeds=seeds_in(rows),
        gpu_hours=round(sum(heavy) / 3600, 4),
        hours=round(sum(row["seconds"] for row in rows) / 3600, 4),
        artifacts=tuple(made_of(row) for row in rows),
    )


def _behind(workspace: Workspace, report: Artifact, rows: list[Row]) -> dict[str, Row]:
    """The records of what the report was made from, by the name of the input, and of the reinforced model."""
    by_print = {row["fingerprint"]: row for row in rows}
    inputs = workspace.record(report)["inputs"]
    sources = {name: by_print[value] for name, value in inputs.items() if isinstance(value, str)}
    reinforced = sources["logits"]["inputs"]["reinforced"].split("/")[0]
    return sources | ({"reinforced": by_print[reinforced]} if reinforced in by_print else {})


def _given(workspace: Workspace, fingerprint: str, rows: list[Row]) -> Weights:
    source = next((row["sources"][fingerprint] for row in rows if fingerprint in row.get("sources", {})), "")
    model = model_by_fingerprint(fingerprint, workspace.hashes, source)
    files = hashes_of_model(model, workspace.hashes) if model else {}
    return Weights(fingerprint=fingerprint, source=source, files=files)


def _step(evidence: Row) -> int:
    return int(next(model["step"] for model in evidence["models"] if model["key"] == evidence["final"]))


def _text(workspace: Workspace, corpus: Row, evidence: Row) -> Text:
    return Text(
        fingerprint=corpus["fingerprint"],
        documents=evidence["corpus"]["documents"],
        characters=evidence["corpus"]["characters"],
        tokens=evidence["positions"]["positions"],
        sha256=_hashes(workspace, corpus["fingerprint"]),
    )


def _hashes(workspace: Workspace, corpus: str) -> tuple[str, ...]:
    """SHA-256 of each document of a corpus."""
    artifact = workspace.find("corpus", corpus) or Artifact("corpus", "gone", corpus)
    documents = read_shard(workspace.path(artifact, [DOCUMENTS]) / DOCUMENTS).to_pylist()
    return tuple(row["sha256"] for row in documents if row["reason"] is None)


def _earlier(workspace: Workspace, request: Row) -> EarlierRequest:
    return EarlierRequest(
        job=request["job"],
        text=request["corpus"],
        sha256=_hashes(workspace, request["corpus"]),
        labels=request["labels"],
        headline=request["headline"],
        verdicts=tuple(f"{verdict['name']}: {verdict['sentence']}" for verdict in request["forgotten"]),
        audit=(request["audit"] or {"headline": ""})["headline"],
    )


def _anchors(dictionary: Row, evidence: Row) -> Anchors:
    return Anchors(
        fingerprint=dictionary["fingerprint"],
        anchors=len(evidence["dictionary"]),
        sha256=dictionary["files"][DICTIONARY]["sha256"],
    )


def _weights(artifact: Row, part: str, step: int | None) -> Weights:
    files = {
        name.removeprefix(part): file["sha256"] for name, file in artifact["files"].items() if name.startswith(part)
    }
    return Weights(fingerprint=artifact["fingerprint"], step=step, files=files)


def _audit(artifact: Row | None, summary: Row | None) -> Audit | None:
    if artifact is None or summary is None:
        return None
    models = {model["key"]: model for model in summary["models"]}
    results = [
        _result(models[key], measure, value | {"count": value["items"]})
        for measure in summary["measures"]
        for key, value in measure["values"].items()
    ]
    verdicts = [
        Attack(**{name: verdict[name] for name in ("attack", "status", "sentence")}) for verdict in summary["verdicts"]
    ]
    return Audit(
        fingerprint=artifact["fingerprint"],
        headline=summary["headline"],
        verdicts=tuple(verdicts),
        results=tuple(results),
    )


def _results(evidence: Row) -> list[Result]:
    models = {model["key"]: model for model in evidence["models"]}
    return [
        _result(models[value["subject"]], measure, value)
        for measure in evidence["measures"]
        for value in measure["values"]
    ]


def _result(model: Row, measure: Row, value: Row) -> Result:
    names = {"model": model["role"], "step": model["step"], "metric": measure["metric"], "task": measure["task"]}
    return Result(**names, items=value["count"], **{name: value[name] for name in ("value", "low", "high")})
