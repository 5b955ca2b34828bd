"""What a root is: a folder, or the URL of an object store."""

from pathlib import Path

from storage.errors import BadInput
from storage.remote.store import RemoteWorkspace
from storage.workspace import Workspace


def open_workspace(root: Path | str) -> Workspace:
    """The workspace at a folder or a URL. Raises BadInput for no name, and for a URL that holds credentials."""
    if not str(root).strip():
        raise BadInput("expected a folder or a URL as --root, found no name: is the variable set that you gave?")
    return RemoteWorkspace(str(root)) if "://" in str(root) else Workspace(root)


def workspace_there(root: Path | str) -> Workspace:
    """The workspace at a root, where something has been made in it: a mistyped root is no empty workspace.

    Raises BadInput where a folder is not there. What a URL names is asked by whoever reads it.
    """
    workspace = open_workspace(root)
    if "://" not in workspace.address and not workspace.root.is_dir():
        raise BadInput(f"expected a workspace at {workspace.root}, found nothing: --root or NEPENTHE_ROOT names it")
    return workspace
