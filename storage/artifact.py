"""What an artifact is: a kind, a name for people, and a fingerprint of what it was made from.

The fingerprint hashes declared inputs only. A path, a device, a micro-batch or a number of workers never enters it, so
the same work done elsewhere has the same address; what cannot be written canonically is refused, not guessed at.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel

RECORD = "record.json"
"""The file of a finished artifact that is written last and says what it was made from, with the other files' hashes."""
PARTIAL = ".partial"
NAMED = re.compile(r"(.+)-([0-9a-f]{16})")
"""The folder of a finished artifact: its name and its fingerprint."""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@runtime_checkable
class Fingerprinted(Protocol):
    """Anything that is known by the content that it stands for: an artifact, a model, user files."""

    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Artifact:
    """A reference to something made, or still to be made. The only thing that travels between tasks."""

    kind: str
    name: str
    fingerprint: str

    @property
    def folder(self) -> str:
        """The address below the workspace's root."""
        return f"{self.kind}/{self.name}-{self.fingerprint}"

    @property
    def partial(self) -> str:
        """The same, while it is made."""
        return f"{self.folder}{PARTIAL}"

    @property
    def key(self) -> str:
        """Whatever it is called, only one process makes it."""
        return f"{self.kind}-{self.fingerprint}"

    @classmethod
    def at(cls, kind: str, folder: str, ending: str = "") -> "Artifact | None":
        """The artifact with this folder among those of its kind; None where the name is no artifact's."""
        parts = NAMED.fullmatch(folder.removesuffix(ending)) if folder.endswith(ending) else None
        return cls(kind, parts[1], parts[2]) if parts else None

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Artifact":
        """The artifact that a record is about."""
        return cls(record["kind"], record["name"], record["fingerprint"])


def canonical(value: object) -> Json:
    """`value` in the one form that is hashed. Raises TypeError for what has no such form (a path, a set, an object)."""
    if isinstance(value, Fingerprinted):
        return value.fingerprint
    if isinstance(value, BaseModel):
        fields = {name: (getattr(value, name), field.exclude_if) for name, field in type(value).model_fields.items()}
        return canonical({name: item for name, (item, absent) in fields.items() if not (absent and absent(item))})
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"a fingerprint needs text keys, found {list(value)}")
        return {key: canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise TypeError(f"a fingerprint needs finite numbers, found {value}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a fingerprint cannot be made from {type(value).__name__}: {value!r}")


def fingerprint(kind: str, version: int, inputs: dict[str, Any]) -> str:
    """16 hexadecimal digits (64 bits) that name what `kind`, at this version of its meaning, makes from `inputs`."""
    made = {"kind": kind, "version": version, "inputs": canonical(inputs)}
    text = json.dumps(made, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def as_json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False).encode()


def as_object(text: bytes, *keys: str) -> dict[str, Any] | None:
    """The JSON object of these bytes; None where they are none, or one of these keys is not in it."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) and value.keys() >= set(keys) else None
