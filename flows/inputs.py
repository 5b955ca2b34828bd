"""What a job names, found on this machine, known by its bytes, and fit to run with: or refused before anything runs."""

from dictionaries.matching import Matcher
from flows.job import Job
from storage.errors import BadInput
from storage.files import Files, Hashes
from storage.settings import Settings
from tasks.choice import refuse_unmeasured
from tasks.dictionary import find_words
from tasks.dictionary_inputs import DictionaryInputs, read_curated
from tasks.evaluation import EvaluationInputs, find_evidence
from tasks.judgement import refuse_judge
from tasks.models import Model, context_length, find_model, same_vocabulary
from tasks.texts import find_files, normalise, read_texts
from tasks.training.settings import split


class Inputs(Settings):
    """The user's files and models of a job, found, known by their bytes, and fit to run with."""

    baseline: Model
    gold: Model | None
    reinforced: Model | None
    corpus: Files | None
    dictionary: DictionaryInputs
    retain: Files | None
    evidence: EvaluationInputs


def resolve(job: Job, hashes: Hashes) -> Inputs:
    """Find what the job names. Raises BadInput, before anything runs, for whatever could not be run with."""
    for training in (job.student, *(() if job.reinforced else (job.reinforce,))):
        split(training.batch, job.placement)
    baseline = find_model(job.model, hashes)
    gold, reinforced = (find_model(path, hashes) if path else None for path in (job.gold, job.reinforced))
    for other in (gold, reinforced):
        if other:
            same_vocabulary(baseline, other)
    for setting, length in (("blocks.length", job.blocks.length), ("reinforce.length", job.reinforce.length)):
        _fits(setting, length, baseline)
    elicits = bool(job.corpus.elicit.subject)  # then a part of the corpus is yet to be made, or all of it
    corpus = find_files(job.corpus.paths, hashes) if job.corpus.paths or not elicits else None
    words = find_words(job.dictionary, hashes, baseline.tokenizer)
    if corpus:
        _fits_together(corpus, job, words)
    retain = find_files(job.retain.paths, hashes, "retain.paths") if job.retain.paths else None
    if (job.student.retain > 0) != (retain is not None):
        raise BadInput(
            "expected retain.paths, generic text to keep, together with student.retain, its share of each batch, "
            f"found only {'retain.paths' if retain else 'student.retain'}"
        )
    evidence = find_evidence(job.evaluation, hashes, job.placement)
    refuse_judge(job.judge)
    benchmarks = bool(evidence.benchmarks or evidence.tasks)
    refuse_unmeasured(job.stop, gold is not None, benchmarks, evidence.heldout is not None)
    return Inputs(
        baseline=baseline,
        gold=gold,
        reinforced=reinforced,
        corpus=corpus,
        dictionary=words,
        retain=retain,
        evidence=evidence,
    )


def _fits_together(corpus: Files, job: Job, words: DictionaryInputs) -> None:
    """Read the whole corpus: an unreadable byte in its last file shall not surface after an hour."""
    curated = read_curated(words.curated, lenient=True)
    matcher, occurs, characters = (
        Matcher(curated),
        job.dictionary.extract != "none" or bool(job.corpus.elicit.subject),
        0,
    )
    for _, text in read_texts(corpus, job.corpus.text_column):
        characters += len(text.strip())
        occurs = occurs or bool(matcher.find(normalise(text)))
    if characters == 0:
        raise BadInput(f"expected text in {', '.join(corpus.paths)}, found only empty documents")
    if not occurs:
        raise BadInput(
            f"expected anchors of the dictionary in the corpus, found none of its {len(curated)}: "
            "the dictionary belongs to another text, or its spelling differs"
        )


def _fits(setting: str, length: int, model: Model) -> None:
    context = context_length(model)
    if length < 2 or (context and length > context):
        raise BadInput(
            f"{setting}: expected 2 to {context or 'any number of'} tokens, the context of {model.path}, found {length}"
        )
