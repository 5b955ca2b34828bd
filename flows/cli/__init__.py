"""All commands; here those that run something. Bad input is one sentence on standard error and exit code 2;
`--json` owns standard output.

Heavy imports stay inside the commands: `nepenthe sql` must not wait two seconds for Prefect. What a flow would refuse
is refused before its engine starts.
"""

import errno
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from flows.cli import outcomes
from flows.cli.dictionary import commands as dictionary_commands
from flows.cli.guard import guard_run
from flows.cli.options import Changes, JobFile, Options, RunOptions, command
from flows.cli.show import evidence, export, rephrase, report, sql
from flows.cli.suites import SuiteOptions, ask_suite, init
from flows.cli.upkeep import gc, purge, status, verify
from flows.environment import (
    import_prefect,
    refuse_removed_folder,
    refuse_unusable_prefect,
    writable_prefect_home,
    writable_workspace,
)
from storage.errors import BadInput, NepentheError
from storage.opening import open_workspace
from storage.workspace import Workspace

CLOSED = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST,
    errno.ENOENT,
)  # fmt: skip
"""What the system says of a file or folder that this user cannot read or write under this name."""
FULL = (errno.ENOSPC, errno.EDQUOT)
NO_ROOM = "No space left on device"

OwnJob = Annotated[Path | None, typer.Argument(metavar="JOB.toml", help="The job; by default the workspace's demo.")]
AuditedJob = Annotated[Path | None, typer.Option("--job", metavar="JOB.toml", help="The job; by default the demo.")]


def unlearn(job: JobFile, options: RunOptions, changes: Changes = None) -> None:
    """Run a job. Run it again after a failure: it goes on from what is finished."""
    from flows.inputs import inputs_of
    from flows.job import read_job

    asked, workspace = read_job(job, changes or []), writable_workspace(options.root)
    inputs_of(asked, workspace)
    start_engine(workspace, options.wait)
    from flows.unlearn import unlearn as flow

    options.answer(outcomes.summary(flow(asked, **options.place), workspace), outcomes.summary_table)


def plan(
    job: JobFile,
    options: Options,
    changes: Changes = None,
    card: Annotated[str, typer.Option(help="h200 or h100: times by the datasheet, instead of this machine's.")] = "",
) -> None:
    """Show what is cached, what will run, how long that takes here, and what fits."""
    from flows.fleet import card_named
    from flows.inputs import inputs_of
    from flows.job import read_job
    from flows.plan import cost
    from flows.speed import this_machine
    from flows.unlearn import plan as plan_of

    asked, workspace = read_job(job, changes or []), open_workspace(options.root)
    known = card_named(card) if card else None
    inputs = inputs_of(asked, workspace)
    planned = plan_of(asked, inputs, workspace)
    options.answer(cost(planned, asked, inputs, known or this_machine(asked, inputs)), outcomes.plan_table)


def demo(
    options: RunOptions, seed: Annotated[int, typer.Option(min=0, help="Seed of the generated world.")] = 0
) -> None:
    """A whole unlearning run on a small world and a tiny model that are made here."""
    workspace = writable_workspace(options.root)
    start_engine(workspace, options.wait)
    from flows.demo import demo as flow

    options.answer(outcomes.summary(flow(seed=seed, **options.place), workspace), outcomes.summary_table)


def real(
    options: RunOptions,
    model: Annotated[str, typer.Option(help="Model directory, or name on the hub; by default SmolLM2-135M.")] = "",
    heldout: Annotated[list[str] | None, typer.Option(help="Text for perplexity; else Python's documentation.")] = None,
    benchmarks: Annotated[list[str] | None, typer.Option(help="Files, folders or names of lm-eval tasks.")] = None,
    large: Annotated[bool, typer.Option("--large", help="The scale of a GPU; by default where there is one.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Draws texts, labels and batches.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="So many experiments, from this seed on: means and spread.")] = 1,
    rate: Annotated[float | None, typer.Option(min=1e-9, help="Of our recipe; by default what suits SmolLM2.")] = None,
) -> None:
    """The paper's experiment on a real model: it forgets Harry Potter, by the paper's recipe and by ours."""
    import_prefect()
    from flows.real import LARGE, SMALL, Asked, refuse_unusable
    from flows.real import real as flow
    from storage.machine import gpus

    workspace = writable_workspace(options.root)
    wanted = [
        Asked(model, tuple(heldout or ()), tuple(benchmarks or ()), number, rate)
        for number in range(seed, seed + seeds)
    ]
    refuse_unusable(wanted[0], workspace)
    start_engine(workspace, options.wait)
    scale = LARGE if large or gpus() else SMALL
    numbers = [outcomes.real_numbers(flow(asked, scale, **options.place), workspace) for asked in wanted]
    options.answer(outcomes.over_seeds(numbers), outcomes.real_table)


def ablation(options: RunOptions, job: OwnJob = None, changes: Changes = None) -> None:
    """Reinforcement only, anchors only, both: whether the job needs both halves of the method."""
    import_prefect()
    from flows import ablation as comparing
    from flows.demo import job_or_demo
    from flows.inputs import inputs_of

    workspace = writable_workspace(options.root)
    asked = job_or_demo(job, changes or [], workspace)
    comparing.arms(asked)
    inputs_of(asked, workspace)
    start_engine(workspace, options.wait)
    compared = comparing.ablation(asked, **options.place)
    options.answer(outcomes.ablation_numbers(compared, workspace), outcomes.ablation_table)


def tune(
    job: JobFile,
    options: RunOptions,
    changes: Changes = None,
    rates: Annotated[str, typer.Option(help="Learning rates between commas; by default about the job's own.")] = "",
    steps: Annotated[str, typer.Option(help="Numbers of steps between commas; by default half and all.")] = "",
) -> None:
    """Try learning rates and steps on the same labels, and suggest the cheapest that meets the stop rule."""
    import_prefect()
    from flows import tune as tuning
    from flows.inputs import inputs_of
    from flows.job import read_job

    workspace, asked = writable_workspace(options.root), read_job(job, changes or [])
    grid = tuning.numbers_of("--rates", rates, float), tuning.numbers_of("--steps", steps, int)
    tuning.arms(asked, *grid)
    inputs_of(asked, workspace)
    start_engine(workspace, options.wait)
    options.answer(tuning.tuned_numbers(tuning.tune(asked, *grid, **options.place), workspace), outcomes.tuned_table)


def audit(
    options: RunOptions,
    suite: SuiteOptions,
    model: Annotated[str, typer.Argument(help="Model directory; by default what the job left behind.")] = "",
    job: AuditedJob = None,
    changes: Changes = None,
) -> None:
    """Attack a model that claims to have forgotten, with baseline and gold as references; or ask a published suite."""
    import_prefect()
    if suite.suite:
        if job:
            raise BadInput("expected MODEL alone with --suite, found --job: a suite asks about its own texts")
        asked_suite = suite.request(model, changes or [], options.root)
        start_engine(open_workspace(options.root), options.wait)
        return ask_suite(asked_suite, options)
    suite.refuse_alone()
    from flows import audit as auditing
    from flows.demo import job_or_demo

    workspace = writable_workspace(options.root)
    asked = job_or_demo(job, changes or [], workspace)
    auditing.resolve_audit(asked, model, workspace)
    start_engine(workspace, options.wait)
    audited = auditing.audit(asked, model, **options.place)
    options.answer(outcomes.audit_numbers(audited, workspace), outcomes.audit_table)


def gold(
    job: JobFile,
    options: RunOptions,
    start: Annotated[str, typer.Option(help="Model that never read the target; by default fresh weights.")] = "",
    changes: Changes = None,
) -> None:
    """Train a control that never read the target, on retain.paths; its directory goes into the job as gold = "..."."""
    from flows.job import read_job

    import_prefect()
    from flows import gold as training

    asked, workspace = read_job(job, changes or []), writable_workspace(options.root)
    training.resolve_gold(asked, start, workspace.hashes)
    start_engine(workspace, options.wait)
    control = training.gold(asked, start, **options.place)
    options.answer({"gold": control}, lambda shown: f'gold = "{shown["gold"]}"')


def start_engine(workspace: Workspace, wait: float | None) -> None:
    """Before Prefect starts: it can, a purge that goes on is waited for, and a kill will leave no server behind."""
    refuse_unusable_prefect()
    with workspace.using(wait, waiting=lambda holder: print(f"nepenthe: waits: {holder}", file=sys.stderr)):
        pass
    guard_run()


app = typer.Typer(
    help="Make a language model forget a body of text.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for function in (
    unlearn, plan, tune, sql, report, audit, rephrase, init, gold, ablation, export, evidence, verify, status, gc,
    purge, demo, real,
):  # fmt: skip
    command(app, function)
app.add_typer(dictionary_commands, name="dictionary")


def main() -> None:
    """The console script."""
    quiet_engines()
    writable_prefect_home()
    sys.exit(exit_code())


def exit_code() -> int:
    """Run the command: 0, 2 for what the user can put right, 1 for a bug of ours."""
    try:
        refuse_removed_folder()
        app(standalone_mode=True)
    except NepentheError as error:
        print(f"nepenthe: {error}", file=sys.stderr)
        return 2
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception as error:
        if sentence := _of_the_environment(error):
            print(f"nepenthe: {sentence}", file=sys.stderr)
            return 2
        # Printed here and let go: a traceback that lives on until exit keeps DuckDB's objects, which then complain.
        traceback.print_exc()
        return 1
    return 0


def _of_the_environment(error: Exception) -> str:
    """What a user can put right about an error that is none of nepenthe's own; empty of any other."""
    if isinstance(error, OSError) and error.errno in CLOSED and error.filename:
        return f"expected a file or folder that is open to you, found {error.strerror}: {error.filename}; name another"
    if (isinstance(error, OSError) and error.errno in FULL) or NO_ROOM in str(error):  # safetensors has its own errors
        return f"expected room to write, found {error}: make some; what is finished is kept"
    raised_in = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if any(filename.endswith("storage/remote/objects.py") for filename in raised_in):
        return (
            f"expected an object store at --root that answers you, found {type(error).__name__}: {error}; look at the "
            "address, at AWS_ENDPOINT_URL and at the credentials in the environment"
        )
    if isinstance(error, ValidationError) and any("/prefect/settings/" in filename for filename in raised_in):
        wrong = "; ".join(
            f"{mistake['loc'][-1]}: {mistake['msg']}, found {mistake['input']!r}" for mistake in error.errors()
        )
        return f"expected Prefect's settings (PREFECT_... or its profile) to be such as Prefect takes, found {wrong}"
    return ""


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
