"""What a job names, found on this machine, known by its bytes, and fit to run with: or refused before anything runs."""

import sys
from functools import cache
from pathlib import Path

from flows.after import following
from flows.job import Job
from storage.errors import BadInput
from storage.files import Files, Hashes
from storage.settings import Settings
from storage.workspace import Workspace
from tasks.choice import refuse_unmeasured
from tasks.dictionary import find_words
from tasks.dictionary_inputs import DictionaryInputs, everyday_words, read_curated
from tasks.elicit import longest_question
from tasks.evaluation import EvaluationInputs, find_evidence
from tasks.judgement import refuse_judge
from tasks.models import Model, context_length, find_model, load_tokenizer, same_vocabulary
from tasks.report.request import Earlier
from tasks.texts import CorpusFiles, find_files, read_documents
from tasks.texts.look import look_at, other_language, read_once, warnings
from tasks.training.settings import split


class Inputs(Settings):
    """The user's files and models of a job, found, known by their bytes, and fit to run with."""

    baseline: Model
    """What is trained, labelled with and compared with: `model`, or what an earlier job left of it (flows/after.py)."""
    gold: Model | None
    reinforced: Model | None
    corpus: CorpusFiles | None
    dictionary: DictionaryInputs
    retain: Files | None
    evidence: EvaluationInputs
    original: Model | None = None
    """`model`, where an earlier job comes before; it knew the texts of all requests."""
    earlier: tuple[Earlier, ...] = ()
    """The requests before this one, the first first."""


def inputs_of(job: Job, workspace: Workspace) -> Inputs:
    """All that a job starts from: what it names on this machine, and the earlier job in the workspace.

    Raises BadInput, before anything runs, for whatever could not be run with.
    """
    inputs = resolve(job, workspace.hashes)
    return inputs.model_copy(update=following(job.after, inputs.baseline, workspace)) if job.after else inputs


def resolve(job: Job, hashes: Hashes) -> Inputs:
    """Find what the job names. Raises BadInput, before anything runs, for whatever could not be run with."""
    for training in (job.student, *(() if job.reinforced else (job.reinforce,))):
        split(training, job.placement)
    baseline = find_model(job.model, hashes)
    gold, reinforced = (find_model(path, hashes) if path else None for path in (job.gold, job.reinforced))
    for other in (gold, reinforced):
        if other:
            same_vocabulary(baseline, other)
    _refuse_too_long(job, baseline)
    elicits = bool(job.corpus.elicit.subject)  # then a part of the corpus is yet to be made, or all of it
    files = find_files(job.corpus.paths, hashes) if job.corpus.paths or not elicits else None
    words = find_words(job.dictionary, hashes, baseline.tokenizer)
    corpus = read_through(files, job, words, baseline) if files else None
    if not files and job.corpus.train_on == "answers":
        raise BadInput('corpus.train_on = "answers": expected corpus.paths with questions and answers, found none')
    retain = find_files(job.retain.paths, hashes, "retain.paths") if job.retain.paths else None
    evidence = find_evidence(job.evaluation, hashes, job.placement)
    _refuse_without_effect(job, retain)
    refuse_judge(job.judge)
    benchmarks = bool(evidence.benchmarks or evidence.tasks)
    refuse_unmeasured(job.stop, gold is not None, benchmarks, evidence.heldout is not None)
    inputs = Inputs(
        baseline=baseline,
        gold=gold,
        reinforced=reinforced,
        corpus=corpus,
        dictionary=words,
        retain=retain,
        evidence=evidence,
    )
    _read_beside_corpus(job, inputs)
    _refuse_trained_on(inputs, hashes)
    return inputs


def _read_beside_corpus(job: Job, inputs: Inputs) -> None:
    """Read every other text. Raises BadInput for what cannot be read, or is no text."""
    words, evidence = inputs.dictionary, inputs.evidence
    everyday_words(words.everyday)
    if words.reference:
        read_once("dictionary.reference", words.reference, words.text_column)
    if inputs.retain:
        read_retained(inputs.retain, job.retain.text_column, inputs.baseline)
    for heldout in evidence.kinds.values() or filter(None, [evidence.heldout]):
        read_once("evaluation.heldout", heldout, evidence.text_column)


def _refuse_trained_on(inputs: Inputs, hashes: Hashes) -> None:
    """Raise BadInput for a held-out file whose bytes a model is trained on: its perplexity would tell nothing."""
    heldout = _digests(inputs.evidence.heldout, hashes)
    for setting, files in (("corpus.paths", inputs.corpus), ("retain.paths", inputs.retain)):
        trained = _digests(files, hashes)
        if both := heldout.keys() & trained.keys():
            digest = both.pop()
            raise BadInput(
                f"evaluation.heldout: expected text that no model is trained on, found in {heldout[digest]} the bytes "
                f"of {trained[digest]}, which {setting} names: hold out other text"
            )


def _digests(files: Files | None, hashes: Hashes) -> dict[str, str]:
    """Paths of the files by the SHA-256 of their bytes."""
    paths = files.paths if files else ()
    return dict(zip(hashes.of_each([Path(path) for path in paths]), paths, strict=True))


def read_through(files: Files, job: Job, words: DictionaryInputs, model: Model) -> CorpusFiles:
    """Read the whole corpus: an unreadable byte in its last file shall not surface after an hour.

    Raises BadInput for what cannot be read, and where no anchor occurs; says what looks as if it were not meant.
    """
    curated, column = read_curated(words.curated, lenient=True), job.corpus.text_column
    look = look_at(files, column, curated)
    if look.characters == 0:
        raise BadInput(f"expected text in {', '.join(files.paths)}, found only empty documents")
    if not look.anchors and job.dictionary.extract == "none" and not job.corpus.elicit.subject:
        raise BadInput(
            f"expected anchors of the dictionary in the corpus, found none of its {len(curated)}: "
            f"the dictionary belongs to another text, or its spelling differs {other_language(look, curated)}".strip()
        )
    for line in warnings(look, curated, job.corpus.paths):
        say(line)
    return _with_template(files, job, model, look.conversations)


def _with_template(files: Files, job: Job, model: Model, conversations: bool) -> CorpusFiles:
    """The files, with the tokenizer whose chat template writes their conversations, where both are there."""
    answers_only = job.corpus.train_on == "answers"
    if answers_only and not conversations:
        raise BadInput(
            'corpus.train_on = "answers": expected questions with answers, or chats, in '
            f"{', '.join(files.paths)}, found none: leave the setting out"
        )
    templated = conversations and takes_conversations(model, files, job.corpus.text_column)
    return CorpusFiles.of(files, model.tokenizer if templated else None, answers_only)


def takes_conversations(model: Model, files: Files, text_column: str) -> bool:
    """Whether a chat template writes the files' conversations. Raises BadInput for one that the template refuses."""
    tokenizer = load_tokenizer(model.tokenizer)
    if tokenizer.chat_template:
        for _ in read_documents(files, text_column, tokenizer):
            pass
    return bool(tokenizer.chat_template)


def read_retained(files: Files, text_column: str, model: Model) -> None:
    """Read the text to retain, as the model will read it. Raises BadInput for what cannot be read, or is no text."""
    if read_once("retain.paths", files, text_column):
        takes_conversations(model, files, text_column)


def _refuse_without_effect(job: Job, retain: Files | None) -> None:
    """Raise BadInput for settings that do nothing without others: a share and its text, soft labels and candidates."""
    if job.labels.soft and job.logits.top == 1:
        raise BadInput("labels.soft: expected logits.top of at least 2, the candidates that share a label, found 1")
    kept = "retain.paths" if retain else "after" if job.after else ""
    if (job.student.retain > 0) != bool(kept):
        raise BadInput(
            "expected retain.paths, generic text to keep, or after, together with student.retain, the share of each "
            f"batch, found only {kept or 'student.retain'}"
        )
    if job.student.null_space and not retain:
        raise BadInput("student.null_space: expected retain.paths, generic text whose use it stays out of, found none")


@cache
def say(line: str) -> None:
    """Tell whoever started the run, once."""
    print(f"nepenthe: {line}", file=sys.stderr)


def _refuse_too_long(job: Job, model: Model) -> None:
    suite, asked = job.evaluation.suite, job.corpus.elicit
    fits("blocks.length", job.blocks.length, model)
    fits("reinforce.length", job.reinforce.length, model)
    if suite.window and job.evaluation.heldout:
        fits("evaluation.suite.window", suite.window, model)
    if asked.subject:
        fits("corpus.elicit.tokens", asked.tokens, model, longest_question(model, asked))


def fits(setting: str, length: int, model: Model, beside: int = 0) -> None:
    """Raise BadInput for a length, in tokens, that the model's context has no room for with so many beside it."""
    context = context_length(model)
    if length < 2 or (context and length + beside > context):
        less = f" less {beside} for what stands beside them" if beside else ""
        most = max(0, context - beside) if context else "any number of"
        raise BadInput(f"{setting}: expected 2 to {most} tokens, the context of {model.path}{less}, found {length}")
