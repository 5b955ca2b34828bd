"""A published suite asked of a model, and its logs in the form that open-unlearning's tables take."""

from pathlib import Path

from prefect import flow

from storage.errors import BadInput
from storage.files import Files, Hashes
from storage.opening import open_workspace
from storage.settings import Settings
from tasks.contents import SUITE, read_json
from tasks.engine.runner import Plan, Runner, running
from tasks.engine.stage import Placement
from tasks.models import Model, find_model
from tasks.suites.common import Measure, SuiteSettings, rows_of, write_logs
from tasks.suites.files import find_tables
from tasks.suites.stage import SUITES, suite_named
from tasks.suites.stage import suite as stage


class SuiteRequest(Settings):
    """Which suite is asked of which model, and where its results go."""

    suite: str
    """tofu, muse-books, muse-news or rwku."""
    model: str
    """Model directory, or owner/name on the hub."""
    data: str = ""
    """Folder with the suite's data set as it is published, or owner/name[@revision] on the hub; by default the suite's
    own there."""
    reference: str = ""
    """Log of a retrained model (TOFU_EVAL.json, MUSE_EVAL.json): for forget quality and PrivLeak."""
    out: str = ""
    """Folder for the two logs; by default SUITE-results here."""
    settings: SuiteSettings = SuiteSettings()
    """How much is asked."""
    placement: Placement = Placement()
    """Where the model is loaded; never part of a fingerprint."""


def resolve_suite(request: SuiteRequest, hashes: Hashes) -> tuple[Model, dict[str, Files], dict[str, Measure]]:
    """The model, the suite's tables, the reference. Raises BadInput, before anything runs, for what is not there."""
    suite = suite_named(request.suite)
    tables = suite.tables(request.settings)
    files = find_tables(request.data or suite.published, tables, hashes)
    rows_of(tables, files, request.settings)
    return find_model(request.model, hashes), files, _reference(request.reference)


def _reference(path: str) -> dict[str, Measure]:
    if not path:
        return {}
    try:
        log = read_json(Path(path))
    except (OSError, ValueError) as error:
        raise BadInput(f"--reference: expected a log such as TOFU_EVAL.json, found {path}: {error}") from error
    if not isinstance(log, dict) or not all(isinstance(value, dict) and "agg_value" in value for value in log.values()):
        raise BadInput(f'--reference: expected {{metric: {{"agg_value": ...}}}} in {path}, found another form')
    scores = log.get("forget_truth_ratio", {}).get("value_by_index") or {}
    numbers = [log["mia_min_k"]["agg_value"]] if "mia_min_k" in log else []
    numbers += [row.get("score") for row in scores.values()]
    if not all(isinstance(number, int | float) for number in numbers):
        raise BadInput(f"--reference: expected mia_min_k and the scores of forget_truth_ratio as numbers in {path}")
    return log


@flow(name="suite", flow_run_name="{request.suite}", persist_result=False, validate_parameters=True)
def suite(request: SuiteRequest, root: str, wait: float | None = None) -> dict[str, str]:
    """Ask a suite of a model; what was asked before is not asked again. Returns where the two logs lie.

    Raises NepentheError for what the user can put right.
    """
    workspace = open_workspace(root)
    model, files, reference = resolve_suite(request, workspace.hashes)
    names = Plan(workspace, request.suite)
    names(stage, model, request.suite, files, request.settings)
    with running(names, request.placement, wait) as run:
        return ask(request, model, files, reference, run)


def ask(
    request: SuiteRequest, model: Model, files: dict[str, Files], reference: dict[str, Measure], run: Runner
) -> dict[str, str]:
    """Make the suite's artifact, and write the logs."""
    artifact, asked = run(stage, model, request.suite, files, request.settings), SUITES[request.suite]
    measures: dict[str, Measure] = read_json(run.workspace.path(artifact) / SUITE)
    measures |= asked.finish(measures, reference)
    paths = write_logs(Path(request.out or f"{request.suite}-results"), asked.title, measures)
    return {"eval": str(paths[0]), "summary": str(paths[1])}
