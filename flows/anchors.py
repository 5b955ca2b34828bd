"""The part of the path that makes the dictionary: it is the same for every flow that needs one."""

from collections.abc import Sequence
from typing import Any

from flows.job import Given, Job
from flows.review import NOT_YET, decided
from storage.artifact import Artifact
from storage.files import Files
from tasks.answers import answers
from tasks.dictionary import dictionary
from tasks.extraction.store import prompt_hash
from tasks.review import approved, review
from tasks.stage import Run, Runner, Stage


class Direct(Run):
    """Makes artifacts in this process, one after the other, without a Prefect flow around them."""

    def __call__(self, stage: Stage, *args: Any, **kwargs: Any) -> Artifact:
        inputs = stage.inputs(*args, **kwargs)
        made = self.make(stage, stage.artifact(self.name, inputs), inputs)
        return made if isinstance(made, Artifact) else made.data

    def together(self, stage: Stage, calls: Sequence[tuple[Any, ...]]) -> list[Artifact]:
        """One after the other."""
        return [self(stage, *args) for args in calls]


def words_for(job: Job, given: Given, documents: Artifact, run: Runner) -> Artifact:
    """The job's dictionary, reviewed where the job wants that."""
    words = draft_for(job, given, documents, run)
    if not job.dictionary.review:
        return words
    return run(review, documents, words, decisions_about(words, run), given.dictionary)


def draft_for(job: Job, given: Given, documents: Artifact, run: Runner) -> Artifact:
    """Curated files, word statistics and the answers of a language model, as one dictionary."""
    settings = job.dictionary
    asked = run(answers, documents, settings.llm, prompt_hash(), settings.endpoint) if settings.asks else None
    return run(dictionary, documents, given.dictionary, asked)


def decisions_about(words: Artifact, run: Runner) -> Files:
    """A person's decisions: a run waits for them, a plan does not."""
    if isinstance(run, Run):
        return decided(run.workspace, words)
    made = run.workspace.find(words.kind, words.fingerprint)
    return (approved(run.workspace, words) if made else None) or NOT_YET
