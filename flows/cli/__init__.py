"""All commands. Bad input is one sentence on standard error and exit code 2; `--json` owns standard output."""

import errno
import os
import sys
import traceback
import warnings

import typer

from flows.cli.dictionary import commands as dictionary_commands
from flows.cli.runs import ablation, audit, demo, plan, real, unlearn
from flows.cli.show import export, report, sql
from flows.cli.upkeep import gc, purge, status, verify
from flows.environment import writable_prefect_home
from storage.errors import NepentheError

CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
"""What the system says of a file or folder that this user cannot read or write."""

app = typer.Typer(
    help="Make a language model forget a body of text.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (unlearn, plan, sql, report, audit, ablation, export, verify, status, gc, purge, demo, real):
    app.command()(command)
app.add_typer(dictionary_commands, name="dictionary")


def main() -> None:
    """The console script."""
    quiet_engines()
    writable_prefect_home()
    sys.exit(exit_code())


def exit_code() -> int:
    """Run the command: 0, 2 for what the user can put right, 1 for a bug of ours."""
    try:
        app(standalone_mode=True)
    except NepentheError as error:
        print(f"nepenthe: {error}", file=sys.stderr)
        return 2
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno in CLOSED and error.filename:
            found = f"{error.strerror}: {error.filename}"
            print(
                f"nepenthe: expected a file or folder that is open to you, found {found}; name another", file=sys.stderr
            )
            return 2
        # Printed here and let go: a traceback that lives on until exit keeps DuckDB's objects, which then complain.
        traceback.print_exc()
        return 1
    return 0


def quiet_engines() -> None:
    """Telemetry off and Prefect's console quiet in whatever we start. What the environment already says stands."""
    for name, value in {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # The embedded server's first start, with migrations, can take longer than Prefect's 20 seconds.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_CLI_PROMPT": "false",
    }.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", "Failed to create the Prefect home")  # refused in our words where it matters
