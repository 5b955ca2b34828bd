"""All commands. Bad input is one sentence on standard error and exit code 2; `--json` owns standard output."""

import os
import sys
import traceback

import typer

from flows.cli.dictionary import commands as dictionary_commands
from flows.cli.runs import ablation, audit, demo, plan, real, unlearn
from flows.cli.show import export, report, sql
from flows.cli.upkeep import gc, purge, status, verify
from storage.errors import NepentheError

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
    except Exception:
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
