"""A job: what to forget, in which model, with which settings. The flow's parameter, and the shape of a job's TOML.

Paths in a job file count from the file's folder, so that a job can be started from anywhere.
"""

import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, ValidationInfo, field_validator

from storage.errors import BadInput
from storage.settings import Settings
from tasks.audit.settings import AuditSettings
from tasks.blocks import BlockSettings
from tasks.choice import StopRule
from tasks.corpus import CorpusSettings
from tasks.dictionary import DictionarySettings
from tasks.engine.stage import Placement
from tasks.evaluation import EvaluationSettings, is_task_name
from tasks.hub import is_hub_name
from tasks.judgement import JudgeSettings
from tasks.labels import LabelSettings
from tasks.logits import LogitsSettings
from tasks.report.request import RequestSettings
from tasks.retained import RetainSettings
from tasks.texts import is_dataset_name
from tasks.training.settings import GoldSettings, ReinforceSettings, StudentSettings

# `durable` forgets deeper at less cost than the paper's recipe on the demo's world and on a novel in a small pretrained
# model (docs/LOG.md); on large models it has not been measured.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "durable": {
        "logits": {"equation": "log_probabilities"},  # no drift of all logits counts as a rise (METHOD.md 1)
        "labels": {"soft": 1.0},  # v_generic as a whole distribution: hard labels sharpen the model
        "student": {"learning_rate": 2e-6, "hardening": 3.0},  # twice the paper's rate
    },
}
RETAINED = {"retain": 0.5, "steps": 300, "keep": [60, 120, 180, 240]}
"""What `durable` does besides where the job names text to retain: half of every batch, so twice as many of them."""

NAME_CHARACTERS = 60


class Job(Settings):
    """Everything that a run needs to know."""

    name: str = "unlearn"
    """Name for people: letters, digits, dashes, underscores and dots. Part of addresses, never of a fingerprint."""
    preset: Literal["paper", "durable"] = "paper"
    """Where the settings come from that the job does not give: the paper, or what was found to forget deeper
    (`PRESETS`). Never part of a fingerprint: the settings are."""
    model: str
    """The baseline: a directory of a causal language model (safetensors, fast tokenizer), or owner/name[@revision] on
    the hub; so also `gold` and `reinforced`."""
    gold: str | None = None
    """A model that never read the target, where there is one: what unlearning should approach."""
    reinforced: str | None = None
    """A reinforced model made elsewhere; by default the reinforce stage makes it."""
    after: str = ""
    """Name of an earlier job on the same `model`, in this workspace: this one goes on with the student that it chose,
    keeps its labels in force (`student.retain` of each batch, by default half) and judges its request anew."""
    corpus: CorpusSettings
    """The text to forget."""
    dictionary: DictionarySettings
    """Anchors and their translations."""
    blocks: BlockSettings = BlockSettings()
    """Cutting and translating."""
    reinforce: ReinforceSettings = ReinforceSettings()
    """Training the reinforced model."""
    logits: LogitsSettings = LogitsSettings()
    """Both models' rows, and the label curves."""
    labels: LabelSettings = LabelSettings()
    """The choice of alpha."""
    student: StudentSettings = StudentSettings()
    """Finetuning on generic labels."""
    retain: RetainSettings = RetainSettings()
    """Generic text for the student's batches; by default none."""
    control: GoldSettings = GoldSettings()
    """How `nepenthe gold` trains a model that never reads the target, on `retain.paths`; nothing else looks at it."""
    evaluation: EvaluationSettings = EvaluationSettings()
    """The evidence."""
    judge: JudgeSettings = JudgeSettings()
    """A language model that grades completions; by default only the program does, which needs no network."""
    stop: StopRule = StopRule()
    """Which of the kept steps becomes the model; by default the last."""
    audit: AuditSettings = AuditSettings()
    """The attacks of `nepenthe audit`; unlearning itself does not look at them."""
    request: RequestSettings = RequestSettings()
    """Who asked, for `nepenthe evidence`; never part of a fingerprint."""
    placement: Placement = Placement()
    """Where and how the work is done; never part of a fingerprint."""

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not re.fullmatch(rf"[A-Za-z0-9._-]{{1,{NAME_CHARACTERS}}}", name) or name.startswith("."):
            raise ValueError("expected letters, digits, dashes, underscores and dots, at most 60 of them")
        return name

    @field_validator("after")
    @classmethod
    def _another(cls, after: str, others: ValidationInfo) -> str:
        if after and after == others.data.get("name"):
            raise ValueError("expected the name of an earlier job, this is its own")
        return after


def read_job(path: Path, changes: list[str]) -> Job:
    """A job's TOML with `section.setting=value` changes. Raises BadInput for what is not a setting or not its value."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"expected a job file at {path}, found nothing") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: expected TOML, found an error: {error}") from error
    set_values(values, changes)
    _resolve(values, path.parent)
    return job_of(values)


def changed(job: Job, changes: list[str]) -> Job:
    """The job with `section.setting=value` changes; paths in them count from the working directory."""
    values = job.model_dump(exclude_unset=True)
    set_values(values, changes)
    return job_of(values)


def job_of(values: dict[str, Any]) -> Job:
    """The job of these values. Raises BadInput with every setting that is wrong, in one sentence."""
    with settings_refused():
        job = Job(**with_preset(values))
    return job


@contextmanager
def settings_refused() -> Iterator[None]:
    """Raises BadInput for settings that do not fit."""
    try:
        yield
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, mistake['loc']))}: {_plainly(mistake['msg'])}"
            + ("" if mistake["type"] == "missing" else f" (found {mistake['input']!r})")
            for mistake in error.errors()
        )
        raise BadInput(f"expected settings that exist, with values that fit, found {wrong}") from error


def _plainly(message: str) -> str:
    message = message.replace("Input should be a valid tuple", 'expected a list, as in ["a", "b"]')
    return message.removeprefix("Value error, ").replace("Extra inputs are not permitted", "unknown setting")


def set_values(values: dict[str, Any], changes: list[str]) -> None:
    """Take over each `section.setting=value`. Raises BadInput where it is none."""
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name.strip():
            raise BadInput(f"expected --set section.setting=value, found {change!r}")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text  # a bare word is a text
        *sections, last = name.strip().split(".")
        within = values
        for section in sections:
            within = within.setdefault(section, {})
            if not isinstance(within, dict):
                raise BadInput(f"expected --set section.setting=value, found {change!r}: {section} is not a section")
        within[last] = value


PATHS = """
    model gold reinforced corpus.paths dictionary.curated dictionary.reference dictionary.everyday retain.paths
    evaluation.prompts evaluation.heldout evaluation.benchmarks audit.neighbours audit.nonmembers audit.forms
"""


def _resolve(values: dict[str, Any], folder: Path) -> None:
    """Make every path of a job count from `folder`."""
    for setting in PATHS.split():
        *sections, name = setting.split(".")
        section: Any = values
        for part in sections:
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict) or name not in section:
            continue
        value = section[name]
        if isinstance(value, str):
            # A model may be a name on the hub; a folder of that name goes before it.
            on_hub = not sections and is_hub_name(value) and not (folder / value).is_dir()
            section[name] = value if on_hub else str(folder / value)
        elif isinstance(value, list):
            section[name] = [_local(folder / path) if _is_path(folder, name, path) else path for path in value]


def _is_path(folder: Path, setting: str, value: Any) -> bool:
    """A benchmark may be the name of one of lm-eval's tasks, and texts a data set on the hub; a file goes before both.

    Everything else that is a text is a path.
    """
    if not isinstance(value, str):
        return False
    if (folder / value).exists() or setting == "curated":
        return True
    return not (is_task_name(value) if setting == "benchmarks" else is_dataset_name(value))


def _local(path: Path) -> str:
    """A path that cannot be taken for a name on the hub."""
    return f"./{path}" if is_dataset_name(str(path)) else str(path)


def with_preset(values: dict[str, Any]) -> dict[str, Any]:
    """A job's values with its preset's below them: what the job says itself stays. Raises BadInput for another name."""
    name = values.get("preset", "paper")
    if name not in PRESETS:
        raise BadInput(f"preset: expected one of {', '.join(PRESETS)}, found {name!r}")
    below = {section: dict(settings) for section, settings in PRESETS[name].items()}
    if values.get("after"):
        below["student"] = below.get("student", {}) | {"retain": RETAINED["retain"]}
    if name == "durable" and (values.get("retain") or {}).get("paths"):
        below["student"] |= RETAINED
    own = {section: values.get(section, {}) for section in below}  # what is no section is left for the job to refuse
    return values | {name: below[name] | given if isinstance(given, dict) else given for name, given in own.items()}
