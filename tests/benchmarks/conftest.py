"""Benchmarks run only when asked for (`make bench`): they measure, they do not judge."""

from collections.abc import Callable
from time import perf_counter

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "benchmarks" in item.path.parts:
            item.add_marker(pytest.mark.benchmark)


@pytest.fixture
def paired() -> Callable[..., dict[str, float]]:
    """Median seconds of several functions, timed in turn A B C A B C ..., so that a drift of the machine hits all."""

    def measure(rounds: int = 5, **functions: Callable[[], object]) -> dict[str, float]:
        seconds: dict[str, list[float]] = {name: [] for name in functions}
        for number in range(rounds + 1):
            for name, function in functions.items():
                started = perf_counter()
                function()
                if number:  # the first round warms up
                    seconds[name].append(perf_counter() - started)
        return {name: sorted(values)[len(values) // 2] for name, values in seconds.items()}

    return measure
