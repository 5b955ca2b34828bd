"""Which dictionary a command speaks of: a file, or an artifact of the workspace and the corpus it was made for.

A job file means the dictionary that this job would use; a job's name, the newest that was made under it.
"""

from dataclasses import dataclass
from pathlib import Path

from dictionaries.dictionary import Dictionary
from storage.artifact import Artifact
from storage.errors import BadInput, MissingArtifact
from storage.files import Files
from storage.workspace import Workspace
from tasks.contents import dictionary_of, documents_of
from tasks.hub import model_folder
from tasks.texts import find_files, read_texts

JOB = ".toml"


@dataclass(frozen=True)
class Source:
    """A dictionary, and the texts that it was made for, where they are known."""

    dictionary: Dictionary
    texts: list[str] | None
    artifact: Artifact | None = None


def source_of(workspace: Workspace, name: str, corpus: list[str]) -> Source:
    """`name`: as in `dictionary_named`, or a dictionary's own file. `corpus`: texts, instead of its own."""
    if name and Path(name).is_file() and not name.endswith(JOB):
        return Source(Dictionary.read(name, lenient=True), _texts(corpus, workspace))
    made = dictionary_named(workspace, name)
    texts = _texts(corpus, workspace) or _corpus_of(workspace, made)
    return Source(dictionary_of(workspace.path(made)), texts, made)


def dictionary_named(workspace: Workspace, name: str, *kinds: str) -> Artifact:
    """The newest dictionary artifact of a job, its file, or a fingerprint; the newest of all without a name."""
    kinds = kinds or ("dictionary", "review")
    known = _of_job_file(workspace, Path(name)) if name.endswith(JOB) else _by_name(workspace, name)
    found = [artifact for artifact in known if artifact.kind in kinds]
    if not found:
        raise MissingArtifact(
            f"expected a dictionary {f'of {name} ' if name else ''}in {workspace.root}, found none: "
            f"`nepenthe dictionary extract {name if name.endswith(JOB) else 'JOB.toml'}` makes it, and so does "
            "`nepenthe unlearn`"
        )
    return found[-1]


def _by_name(workspace: Workspace, name: str) -> list[Artifact]:
    return [a for a in workspace.all() if name in ("", a.name) or a.fingerprint.startswith(name)]


def _of_job_file(workspace: Workspace, job: Path) -> list[Artifact]:
    """What there is of the job's target just as it is now, a review after the draft that it is about."""
    from flows.inputs import resolve
    from flows.job import read_job
    from flows.unlearn import make_target
    from tasks.engine.runner import Plan

    asked = read_job(job, [])
    planned = Plan(workspace, asked.name)
    make_target(asked, resolve(asked, workspace.hashes), planned)
    return [step.artifact for step in planned.steps if step.cached]


def tokenizer_at(model: str) -> Files | None:
    """The tokenizer of a model directory, or of a model on the hub."""
    if not model:
        return None
    path = model_folder(model)[0] / "tokenizer.json"
    if not path.is_file():
        raise BadInput(f"--tokenizer: expected a model directory with a tokenizer.json, found none at {path}")
    return Files((str(path),), "")


def _texts(corpus: list[str], workspace: Workspace) -> list[str] | None:
    if not corpus:
        return None
    return [text for _, text in read_texts(find_files(tuple(corpus), workspace.hashes, "--corpus"), "text")]


def _corpus_of(workspace: Workspace, made: Artifact) -> list[str] | None:
    corpus = workspace.find("corpus", workspace.record(made)["inputs"]["corpus"])
    return documents_of(workspace.path(corpus)) if corpus else None
