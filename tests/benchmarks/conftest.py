"""Benchmarks run only when asked for (`make bench`): they measure, they do not judge."""

import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import pytest

BENCH = Path(__file__).parents[2] / "bench.json"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "benchmarks" in item.path.parts:
            item.add_marker(pytest.mark.benchmark)


@pytest.fixture
def seconds() -> Callable[[Callable[[], object]], float]:
    """How long a function takes."""

    def measure(function: Callable[[], object]) -> float:
        started = perf_counter()
        function()
        return perf_counter() - started

    return measure


@pytest.fixture
def record() -> Callable[[str, list[float], float], None]:
    """Put a row into bench.json beside the Makefile: name, median of some ratios, how far they lie apart, goal."""

    def write(name: str, ratios: list[float], goal: float) -> None:
        rows = json.loads(BENCH.read_text())["rows"] if BENCH.exists() else []
        ratio, spread = sorted(ratios)[len(ratios) // 2], max(ratios) - min(ratios)
        row = {"name": name, "ratio": ratio, "spread": spread, "goal": goal}
        BENCH.write_text(json.dumps({"rows": [*(old for old in rows if old["name"] != name), row]}, indent=1))

    return write


@pytest.fixture
def ratios() -> Callable[..., list[float]]:
    """Processor time of one function by that of another, timed in turn: beside other work steadier than wall time."""

    def measure(function: Callable[[], object], beside: Callable[[], object], rounds: int = 5) -> list[float]:
        pairs = []
        for _ in range(rounds + 1):  # the first warms up
            times = [process_time()]
            for each in (beside, function):
                each()
                times.append(process_time())
            pairs.append((times[2] - times[1]) / (times[1] - times[0]))
        return pairs[1:]

    return measure
