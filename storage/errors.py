"""Every error that nepenthe raises on purpose. The command line prints the sentence and exits with 2.

A message says what was expected, what was found and what to do; for something missing, which stage makes it.
"""

from collections.abc import Iterable


class NepentheError(Exception):
    """Something that the user can put right: input, settings, the machine. Never a bug of ours."""


class BadInput(NepentheError):
    """A file, a setting or a model that cannot be used as it is."""


class MissingArtifact(NepentheError):
    """A stage was asked for something that an earlier stage has not made (or that was removed)."""

    @classmethod
    def of(cls, folder: str, address: str) -> "MissingArtifact":
        """The artifact of this folder is not in the workspace at this address."""
        stage = folder.partition("/")[0]
        return cls(f"{folder} is not in {address}; the {stage} stage makes it: run the job again")


class WorkspaceBusy(NepentheError):
    """Another process writes to this workspace."""


class DamagedArtifact(NepentheError):
    """The bytes on disk are not those that the record describes."""

    @classmethod
    def of(cls, folder: str, address: str, files: Iterable[str]) -> "DamagedArtifact":
        """These files of the artifact are not as its record says."""
        return cls(
            f"{folder} in {address}: expected the bytes that its record describes, found others, or none, in "
            f"{', '.join(files)}; nepenthe verify --repair takes them away, then run the job again"
        )


class DamagedTables(NepentheError):
    """The file of tables cannot be read. It is made from the artifacts, and made again."""


class DiskFull(NepentheError):
    """The workspace's disk has no room left. What was finished is kept."""


class Unanswered(NepentheError):
    """A language model's endpoint left too many passages without an answer. What was answered is kept."""


class AwaitsReview(NepentheError):
    """A person has to look at the dictionary before the run goes on. The same command goes on from there."""


class Stopped(NepentheError):
    """The run was told to stop. What is finished is kept, and the same command goes on from there."""


class TrainingDiverged(NepentheError):
    """The loss or the gradient is not finite. No optimizer step was taken on it."""


class OutOfMemory(NepentheError):
    """Not enough memory for a batch. Heavy stages go on with half of it; this is raised where it cannot be halved."""


class ChildDied(RuntimeError):
    """A process that made an artifact ended without a result: killed, crashed. A retry goes on from its last shard."""
