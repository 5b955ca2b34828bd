"""What the environment must give before anything starts: loopback without a proxy, Prefect's home, Prefect's server.

Prefect's own answer to each of these is a traceback, after two minutes where its embedded server does not come up.
"""

import os
import subprocess
import tempfile
from contextlib import redirect_stderr, suppress
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

from storage.errors import BadInput
from storage.opening import open_workspace
from storage.workspace import Workspace

PROXIES = ("http_proxy", "https_proxy", "all_proxy")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SERVER_SECONDS = 5.0


def loopback_without_proxy() -> None:
    """Where a proxy is named, tell this process and its children that loopback does not go through it."""
    # Without a proxy nothing is said: on macOS any of these variables would hide the system's own proxy settings.
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in PROXIES):
        return
    exempt = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))  # as urllib reads them: lower case wins
    hosts = [host.strip() for host in exempt.split(",") if host.strip()]
    if "*" not in hosts:
        exempt = ",".join(dict.fromkeys((*hosts, *LOOPBACK)))
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = exempt


def writable_prefect_home() -> None:
    """Where HOME has no room for Prefect's folder, give it one of our own. One that the user names stays."""
    if os.environ.get("PREFECT_HOME"):
        return
    with suppress(OSError, RuntimeError):  # RuntimeError: a user without an entry in passwd and without HOME
        refuse_unwritable(Path.home() / ".prefect")
        return
    with suppress(OSError):
        os.environ["PREFECT_HOME"] = str(_own_folder())


def refuse_unwritable(home: Path) -> None:
    """Raise OSError unless Prefect can keep its database in this folder."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=home) as file:
        file.write(b"1")
    database = home / "prefect.db"
    if database.exists() and not os.access(database, os.W_OK):
        raise PermissionError(13, "another user's database", str(database))


def _own_folder() -> Path:
    """This user's folder below the system's temporary one, the same for every run: suspended runs are found again."""
    folder = Path(tempfile.gettempdir()) / f"nepenthe-prefect-{os.getuid()}"
    refuse_unwritable(folder)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():  # anybody can put a folder there
        return Path(tempfile.mkdtemp(prefix="nepenthe-prefect-"))
    return folder


def refuse_removed_folder() -> None:
    """Raise BadInput where the current folder is gone: Prefect's server would be waited for in vain."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise BadInput("expected a current folder, found that it was removed: go to another one (cd)") from error


def import_prefect() -> None:
    """Before anything else does: settings that it does not take are then said once, by whoever first uses them."""
    with redirect_stderr(StringIO()):
        import prefect  # noqa: F401


def refuse_unusable_prefect() -> None:
    """Raise BadInput where Prefect would have no folder, or where the server that it is told of is of no use."""
    import_prefect()
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url:
        _refuse_unusable_server(settings.api.url)
        return
    server_apart()
    try:
        refuse_unwritable(settings.home)
    except OSError as error:
        raise BadInput(
            f"expected a folder for Prefect's database that can be written, found {error.strerror} at {settings.home}: "
            "let PREFECT_HOME name another folder"
        ) from error


def server_apart() -> None:
    """Have the server that Prefect starts lead a session of its own.

    Ctrl-C, `timeout` and systemd signal a whole group of processes; a run whose server is gone asks for it for minutes.
    """
    from prefect.server.api import server

    apart = {"Popen": partial(subprocess.Popen, start_new_session=True)}
    vars(server)["subprocess"] = SimpleNamespace(**vars(subprocess) | apart)


def _refuse_unusable_server(url: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client({"timeout": SERVER_SECONDS}, sync_client=True) as client,
        ):
            client.raise_for_api_version_mismatch()
    except Exception as error:  # a dead port, a wrong password, another version, something that is no Prefect server
        words, parts = _said(error.__cause__ or error), urlsplit(url)
        without_password = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        raise BadInput(
            f"expected a Prefect server that answers at PREFECT_API_URL, {without_password}, found: {words}: "
            "start it, give its password in PREFECT_API_AUTH_STRING, or unset PREFECT_API_URL (`prefect config unset "
            "PREFECT_API_URL`) and nepenthe starts one of its own"
        ) from error


def _said(error: BaseException) -> str:
    """What a client's error comes to, in words that hold no password."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"{response.status_code} {response.reason_phrase}"
    if isinstance(error, ValueError):
        return "an answer that is none of Prefect's"
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def writable_workspace(root: str) -> Workspace:
    """The workspace at this root. Raises BadInput where nothing can be made in it, or in the cache of a remote one."""
    workspace = open_workspace(root)
    try:
        workspace.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workspace.root):
            pass
    except OSError as error:
        way = "NEPENTHE_CACHE" if "://" in workspace.address else "--root"
        raise BadInput(
            f"expected a workspace that can be written, found {error.strerror} at {workspace.root}: "
            f"let {way} name another folder"
        ) from error
    return workspace
