"""What a root is: a folder, or the URL of an object store."""

from pathlib import Path

from storage.remote.store import RemoteWorkspace
from storage.workspace import Workspace


def open_workspace(root: Path | str) -> Workspace:
    """The workspace at a folder or a URL. Raises BadInput for a URL that holds credentials."""
    return RemoteWorkspace(str(root)) if "://" in str(root) else Workspace(root)
