"""The part of the path that makes the dictionary: it is the same for every flow that needs one."""

from flows.job import Given, Job
from storage.artifact import Artifact
from tasks.answers import answers
from tasks.dictionary import dictionary
from tasks.extraction.store import prompt_hash
from tasks.stage import Runner


def words_for(job: Job, given: Given, documents: Artifact, run: Runner) -> Artifact:
    """The job's dictionary: curated files, word statistics, the answers of a language model, a person's review."""
    settings = job.dictionary
    asked = run(answers, documents, settings.llm, prompt_hash(), settings.endpoint) if settings.asks else None
    return run(dictionary, documents, given.dictionary, asked)
