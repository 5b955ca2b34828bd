"""The part of the path that makes the dictionary: it is the same for every flow that needs one."""

from flows.job import Inputs, Job
from flows.review import NOT_YET, decided
from storage.artifact import Artifact
from storage.files import Files
from tasks.answers import answers
from tasks.dictionary import dictionary
from tasks.engine.runner import Run
from tasks.engine.stage import Runner
from tasks.llm.store import prompt_hash
from tasks.review import approved, review


def make_dictionary(job: Job, inputs: Inputs, documents: Artifact, run: Runner) -> Artifact:
    """The job's dictionary, reviewed where the job wants that."""
    words = draft_dictionary(job, inputs, documents, run)
    if not job.dictionary.review:
        return words
    return run(review, documents, words, decisions_for(words, run), inputs.dictionary)


def draft_dictionary(job: Job, inputs: Inputs, documents: Artifact, run: Runner) -> Artifact:
    """Curated files, word statistics and the answers of a language model, as one dictionary."""
    settings = job.dictionary
    asked = run(answers, documents, settings.llm, prompt_hash(), settings.endpoint) if settings.asks else None
    return run(dictionary, documents, inputs.dictionary, asked)


def decisions_for(words: Artifact, run: Runner) -> Files:
    """A person's decisions: a run waits for them, a plan does not."""
    if isinstance(run, Run):
        return decided(run.workspace, words)
    made = run.workspace.find(words.kind, words.fingerprint)
    return (approved(run.workspace, words) if made else None) or NOT_YET
