"""Which dictionary a command speaks of: a file, or an artifact of the workspace and the corpus it was made for."""

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


@dataclass(frozen=True)
class Source:
    """A dictionary, and the texts that it was made for, where they are known."""

    dictionary: Dictionary
    texts: list[str] | None
    artifact: Artifact | None = None


def source_of(workspace: Workspace, name: str, corpus: list[str]) -> Source:
    """`name`: a file, a fingerprint or a job; by default the newest dictionary. `corpus`: texts, instead of its own."""
    if name and Path(name).is_file():
        return Source(Dictionary.read(name, lenient=True), _texts(corpus, workspace))
    made = dictionary_named(workspace, name)
    texts = _texts(corpus, workspace) or _corpus_of(workspace, made)
    return Source(dictionary_of(workspace.path(made)), texts, made)


def dictionary_named(workspace: Workspace, name: str, *kinds: str) -> Artifact:
    """The newest dictionary artifact of a job, or of a fingerprint; the newest of all without a name."""
    kinds = kinds or ("dictionary", "review")
    found = [
        artifact
        for artifact in workspace.all()
        if artifact.kind in kinds and (name in ("", artifact.name) or artifact.fingerprint.startswith(name))
    ]
    if not found:
        raise MissingArtifact(
            f"expected a dictionary {f'{name} ' if name else ''}in {workspace.root}, found none: "
            "`nepenthe dictionary extract JOB.toml` or `nepenthe unlearn JOB.toml` makes it"
        )
    return found[-1]


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
