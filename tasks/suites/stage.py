"""suite: a published suite of questions about unlearning, asked and counted as its authors do; each has a file here.

A part at a time, so that a killed run goes on from its last part.
"""

from collections.abc import Mapping

from storage.artifact import as_json
from storage.errors import BadInput
from storage.files import Files, write_atomically
from tasks.contents import SUITE, SUITE_PART, read_json, write_json
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.loaded import LoadedModel
from tasks.models import Model, load_model, load_tokenizer
from tasks.suites.common import Asked, Measure, Suite, SuiteSettings, rows_of
from tasks.suites.muse import MUSE
from tasks.suites.rwku import RWKU
from tasks.suites.tofu import TOFU

SUITES: Mapping[str, Suite] = {suite.name: suite for suite in (TOFU, *MUSE, RWKU)}


def suite_named(name: str) -> Suite:
    """The suite of this name. Raises BadInput where there is none."""
    if name not in SUITES:
        raise BadInput(f"expected one of the suites {', '.join(SUITES)}, found {name}")
    return SUITES[name]


@stage("suite", version=1, heavy=True, reads=True)
def suite(context: Context, model: Model, name: str, tables: dict[str, Files], settings: SuiteSettings) -> Counts:
    """Write suite.json: every measure that needs the model alone. Numbers only, no text."""
    asks = SUITES[name]
    rows = rows_of(asks.tables(settings), tables, settings)
    weights = load_model(model.path, context.placement.device)
    loaded = LoadedModel(weights, load_tokenizer(model.tokenizer), context.placement.micro_batch)
    asked = Asked(loaded, rows)
    parts = {part: measured for part, (needs, measured) in asks.parts.items() if rows.keys() >= set(needs)}
    measures: dict[str, Measure] = {}
    for done, (part, measured) in enumerate(parts.items(), start=1):
        path = context.folder / SUITE_PART.replace("*", part)
        if not path.exists():
            write_atomically(path, as_json(measured(asked)))
            context.checkpoint(path)
        measures |= read_json(path)
        context.progress(done, len(parts))
    write_json(context.folder / SUITE, measures)
    return {"measures": len(measures), "rows": sum(map(len, rows.values()))}
