"""What a killed run would leave behind: Prefect's embedded server, a child that outlives SIGKILL of its parent.

A guard process holds the reading end of a pipe. When the run is gone, however it ended, the pipe closes and the guard
ends every process that bears the run's mark in its environment. Linux only; elsewhere nothing is guarded.
"""

import os
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path

MARK = "NEPENTHE_RUN"
_guards: list["subprocess.Popen[bytes]"] = []  # kept alive, and with them their pipes, until the process ends


def guard_run() -> None:
    """Mark this process's future children and start their guard."""
    if not sys.platform.startswith("linux") or MARK in os.environ:
        return
    token = uuid.uuid4().hex
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-S", "-E", str(Path(__file__).absolute()), token]
    _guards.append(subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, **quiet))  # type: ignore[call-overload]
    os.environ[MARK] = token


def main(token: str) -> None:
    """Wait for the end of the run, then end what it left."""
    sys.stdin.buffer.read()
    mark = f"{MARK}={token}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):  # gone already, or another user's
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])
