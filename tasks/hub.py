"""Models and data sets named as on the hub, `owner/name` or `owner/name@revision`, through huggingface_hub's own cache
and login. `owner/name:pattern` names some files of a data set.

A branch or no revision means what the hub has today where it can be asked, and what the cache has where not.
"""

import logging
import re
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from storage.errors import BadInput

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[^\s@]+)?")
DATASET = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@[^\s@:]+)?(:(?P<files>\S.*))?")
NO_DATA = ["*.md", "dataset_info*.json", ".*", "*/.*"]  # what a data set says about itself
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
DOWNLOADED = ["config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json", *TOKENIZER_FILES]
LEFT = ["*/*", "consolidated*.safetensors"]  # the same weights in other formats
LOGIN = "log in with `hf auth login`, or give a token in HF_TOKEN"


def is_hub_name(name: str) -> bool:
    """Whether this can be a model's or data set's name on the hub. A folder of that name goes before it."""
    return NAME.fullmatch(name) is not None


def model_folder(name: str) -> tuple[Path, str]:
    """Where a model lies here, and its `owner/name@commit` where it is the hub's cache that has it.

    What the cache lacks is downloaded. Raises BadInput with what was looked for, where, and the way on.
    """
    if Path(name).is_dir() or not is_hub_name(name):
        return Path(name), ""
    expected = f"expected a model directory {name}, or a model of that name on the hub"
    return _snapshot(name, expected, allow_patterns=DOWNLOADED, ignore_patterns=LEFT)


def dataset_files(name: str, setting: str, endings: Sequence[str]) -> tuple[list[Path], str]:
    """The files of a data set with these endings, in the order of their names, and its `owner/name@commit`.

    What the cache lacks is downloaded, and nothing else of the data set. Raises BadInput with what was looked for,
    where, and the way on.
    """
    named = DATASET.fullmatch(name)
    assert named, name
    patterns = [named["files"]] if named["files"] else [f"*{ending}" for ending in endings]
    folder, source = dataset_folder(name.partition(":")[0], setting, patterns)
    there = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path: path.relative_to(folder).as_posix() for path in there}
    files = [path for path in there if _any(names[path], patterns) and not _any(names[path], NO_DATA)]
    if not files or not all(path.name.lower().endswith(tuple(endings)) for path in files):
        raise BadInput(
            f"{setting}: expected files {', '.join(endings)} in the data set {name}, found "
            f"{', '.join(list(names.values())[:8]) or 'none'} in {folder}: name those that hold the texts "
            f"({named['repository']}:PATTERN), or give the texts as files"
        )
    return files, source


def dataset_folder(name: str, setting: str, patterns: Sequence[str]) -> tuple[Path, str]:
    """Where the hub's cache has the data set `owner/name[@revision]`, and its `owner/name@commit`.

    Files of these patterns that the cache lacks are downloaded. Raises BadInput with what was looked for, where, and
    the way on.
    """
    expected = f"{setting}: expected a file or folder {name}, or a data set of that name on the hub"
    return _snapshot(name, expected, allow_patterns=patterns, ignore_patterns=NO_DATA, repo_type="dataset")


def _any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in patterns)


def cached_folder(source: str) -> Path | None:
    """Where the hub's cache has the model of `owner/name@commit`, without asking anybody."""
    from huggingface_hub import snapshot_download

    repository, _, commit = source.partition("@")
    try:
        return Path(snapshot_download(repository, revision=commit, local_files_only=True)) if source else None
    except OSError:
        return None


def _snapshot(name: str, expected: str, **wanted: Any) -> tuple[Path, str]:
    """The folder in the hub's cache of the commit that `owner/name[@revision]` means, and its `owner/name@commit`."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # what is in the way is said in our words
    if not sys.stderr.isatty():
        disable_progress_bars()
    repository, _, revision = name.partition("@")
    try:
        folder = Path(snapshot_download(repository, revision=revision or None, **wanted))
    except Exception as error:  # the hub's own errors, those of two HTTP libraries, a full disk
        raise BadInput(f"{expected}, found {_why(error)}") from error
    return folder, f"{repository}@{folder.name}"


def _why(error: Exception) -> str:
    """What is in the way, and what to do about it."""
    from huggingface_hub import constants, errors

    hub, cache = constants.ENDPOINT, constants.HF_HUB_CACHE
    match error:
        case errors.GatedRepoError():
            return f"that it is gated: accept its terms on its page at {hub} and {LOGIN}"
        case errors.RepositoryNotFoundError():
            return f"neither, asking {hub}; if it is private, {LOGIN}"
        case errors.RevisionNotFoundError():
            return f"no such revision at {hub}"
        case errors.HfHubHTTPError() if error.response.status_code in (401, 403):
            return f"that {hub} does not show it to you: {LOGIN}"
        case errors.LocalEntryNotFoundError():
            answer = getattr(error.__cause__, "response", None)
            state = "cannot be reached" if answer is None else f"answers {answer.status_code}"
            state = "is not asked (HF_HUB_OFFLINE)" if constants.is_offline_mode() else state
            get = "`hf download` gets it where there is a network, and HF_HUB_CACHE says where it lies"
            return f"nothing whole in {cache}, and {hub} {state}: {get}"
        case OSError() if error.filename:
            return f"{error.strerror} at {error.filename}: let HF_HOME name a folder with room that can be written"
    return f"that {hub} cannot be used: {(str(error).splitlines() or [''])[0] or type(error).__name__}"
