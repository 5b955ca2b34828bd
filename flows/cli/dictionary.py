"""`nepenthe dictionary ...`: make a dictionary, look at it, and have a person review it.

None of these needs Prefect's server. `extract` makes the same artifacts as the flow, which then finds them; a review
that a suspended run waits for lets it go on.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dictionaries.dictionary import Dictionary
from flows.cli.options import Changes, JobFile, Options, command, rows_as_text
from flows.environment import writable_workspace
from storage.artifact import Artifact
from storage.errors import BadInput, MissingArtifact
from storage.files import Files
from storage.locks import who
from storage.opening import open_workspace
from storage.workspace import Workspace
from tasks.contents import dictionary_of, documents_of
from tasks.hub import model_folder
from tasks.texts import find_files, read_texts

if TYPE_CHECKING:
    from dictionaries.lint import Finding

commands = typer.Typer(help="Anchors and their translations: make, lint, show, review.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        metavar="[DICTIONARY]", help="A file, a JOB.toml, a job's name or a fingerprint; by default the newest one."
    ),
]
Which = Annotated[
    str, typer.Option("--dictionary", help="A JOB.toml, a job's name or a fingerprint; by default the newest.")
]
Corpus = Annotated[
    list[str] | None, typer.Option("--corpus", help="The target's texts: a file or folder; may be repeated.")
]


def extract(
    options: Options,
    job: JobFile,
    changes: Changes = None,
    out: Annotated[Path | None, typer.Option(help="Also write the dictionary to this file.")] = None,
) -> None:
    """Make a job's dictionary and nothing else. Run it again after a failure: only what is missing is asked for."""
    from flows.inputs import inputs_of
    from flows.job import read_job
    from flows.unlearn import draft_dictionary, make_corpus
    from storage.tables import refresh
    from tasks.contents import DICTIONARY
    from tasks.engine.console import Progress
    from tasks.engine.runner import Direct

    asked, workspace = read_job(job, changes or []), writable_workspace(options.root)
    inputs = inputs_of(asked, workspace)
    with workspace.using():
        refresh(workspace)
        run = Direct(workspace, asked.name, asked.placement, Progress(3 if asked.dictionary.asks else 2))
        draft = draft_dictionary(asked, inputs, make_corpus(asked, inputs, run), run)
    file = workspace.path(draft) / DICTIONARY
    if out:
        out.write_bytes(file.read_bytes())
    counts = {step.artifact.kind: workspace.record(step.artifact)["counts"] for step in run.steps}
    options.answer({"dictionary": str(out or file), "counts": counts}, lambda shown: str(shown["dictionary"]))


def lint(
    options: Options,
    name: Name = "",
    corpus: Corpus = None,
    everyday: Annotated[str, typer.Option(help="List of everyday words, instead of nepenthe's.")] = "",
    tokenizer: Annotated[str, typer.Option(help="Model directory: count what translations cost in tokens.")] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 2 where there are errors.")] = False,
) -> None:
    """What is wrong with a dictionary, rule by rule. Errors stop a run, warnings go to its report."""
    from dictionaries.lint import lint as findings_of
    from dictionaries.lint import refuse_errors
    from tasks.dictionary_inputs import everyday_words, tokens_with

    workspace = open_workspace(options.root)
    source = source_of(workspace, name, corpus or [])
    words = everyday_words(workspace.hashes.files([Path(everyday)], "--everyday") if everyday else None)
    findings = findings_of(source.dictionary, source.texts, tokens_with(tokenizer_at(tokenizer)), words)
    options.answer([asdict(finding) for finding in findings], lambda _: "".join(map(_lint_lines, findings)))
    if strict:
        refuse_errors(findings)


def _lint_lines(finding: "Finding") -> str:
    from dictionaries.lint import RULES

    examples = "".join(f"{'':16}{example}\n" for example in finding.examples)
    return f"{finding.severity:<8}{finding.count:>6,}  {finding.rule}: {RULES[finding.rule][1]}\n{examples}"


def show(options: Options, name: Name = "") -> None:
    """The entries of a dictionary."""
    dictionary = source_of(open_workspace(options.root), name, []).dictionary
    if options.as_json:
        print(dictionary.to_json(), end="")
        return
    rows: list[tuple[Any, ...]] = [
        (entry.anchor, " | ".join(entry.translations), " | ".join(map(str, entry.votes)), entry.kind, entry.provenance)
        for entry in dictionary.entries
    ]
    print(rows_as_text(["anchor", "translations", "votes", "kind", "provenance"], rows))


def export(
    options: Options,
    table: Annotated[Path, typer.Argument(help="The table to write, a new file NAME.csv.")] = Path("review.csv"),
    name: Which = "",
    corpus: Corpus = None,
) -> None:
    """Write a dictionary as a table: votes, an example sentence, the lint, and a column for a person's decision."""
    from dictionaries.review import NONE, export_review
    from tasks.review import proposals_of

    if table.suffix != ".csv":
        raise BadInput(f"expected a table to write, NAME.csv, found {table}: what to export goes behind --dictionary")
    if table.exists():
        raise BadInput(f"expected a new file, found {table}, which may hold decisions: name another, or remove it")
    workspace = open_workspace(options.root)
    source = source_of(workspace, name, corpus or [])
    proposed = proposals_of(workspace, source.artifact) if source.artifact else NONE
    rows = export_review(source.dictionary, table, source.texts or [], proposed)
    options.answer({"table": str(table), "entries": rows}, lambda _: f"{rows} entries in {table}")


def import_(
    options: Options,
    table: Annotated[Path | None, typer.Argument(help="The table, with approve, change or reject.")] = None,
    approve_rest: Annotated[
        bool, typer.Option("--approve-rest", help="Approve every entry that nobody has decided about.")
    ] = False,
    by: Annotated[str, typer.Option(help="Who decided, where the table names nobody; by default you.")] = "",
    name: Which = "",
) -> None:
    """Take over a person's decisions. Once every entry is decided, a run that waits for the review goes on."""
    from flows.review import go_on
    from tasks import review

    if table is None and not approve_rest:
        raise BadInput("expected a table to import, or --approve-rest, found neither")
    workspace, reviewer = open_workspace(options.root), by or who()
    draft = dictionary_named(workspace, name, "dictionary")
    decided = review.import_table(workspace, draft, table, reviewer) if table else 0
    decided += review.approve_rest(workspace, draft, reviewer) if approve_rest else 0
    undecided = len(review.undecided(workspace, draft))
    then = "decide them too, or add --approve-rest" if undecided else go_on(workspace, draft, reviewer)
    outcome = {"dictionary": draft.folder, "decided": decided, "undecided": undecided, "then": then}
    options.answer(outcome, lambda _: f"{decided} decisions taken over, {undecided} entries undecided: {then}")


JOB = ".toml"
"""A job's file means the dictionary that this job would use; a job's name, the newest that was made under it."""


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
    artifact = dictionary_named(workspace, name)
    texts = _texts(corpus, workspace) or _corpus_of(workspace, artifact)
    return Source(dictionary_of(workspace.path(artifact)), texts, artifact)


def dictionary_named(workspace: Workspace, name: str, *kinds: str) -> Artifact:
    """The newest dictionary artifact of a job, its file, or a fingerprint; the newest of all without a name."""
    kinds = kinds or ("dictionary", "review")
    if name.endswith(JOB):
        known = _of_job_file(workspace, Path(name))
    else:
        known = [a for a in workspace.all() if name in ("", a.name) or a.fingerprint.startswith(name)]
    candidates = [artifact for artifact in known if artifact.kind in kinds]
    if not candidates:
        raise MissingArtifact(
            f"expected a dictionary {f'of {name} ' if name else ''}in {workspace.root}, found none: "
            f"`nepenthe dictionary extract {name if name.endswith(JOB) else 'JOB.toml'}` makes it, and so does "
            "`nepenthe unlearn`"
        )
    return candidates[-1]


def _of_job_file(workspace: Workspace, job: Path) -> list[Artifact]:
    """What there is of the job's target just as it is now, a review after the draft that it is about."""
    from flows.inputs import inputs_of
    from flows.job import read_job
    from flows.unlearn import make_target
    from tasks.engine.runner import Plan

    asked = read_job(job, [])
    planned = Plan(workspace, asked.name)
    make_target(asked, inputs_of(asked, workspace), planned)
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
    return list(read_texts(find_files(tuple(corpus), workspace.hashes, "--corpus"), "text"))


def _corpus_of(workspace: Workspace, artifact: Artifact) -> list[str] | None:
    corpus = workspace.find("corpus", workspace.record(artifact)["inputs"]["corpus"])
    return documents_of(workspace.path(corpus)) if corpus else None


for function in (extract, lint, show, export):
    command(commands, function)
command(commands, import_, "import")
