"""Generic names by kind, to draw translations from: seeded, none twice, none that the caller refuses.

A pool never runs dry. Behind its list come pairs of its names ("Anna-Clara"), so a drawn
name is always new, only less pretty.
"""

import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import permutations

from dictionaries.english import table


class Names:
    """Draws from the pools. The same seed and the same calls give the same names."""

    def __init__(self, seed: int, refused: Callable[[str], bool] = lambda name: False) -> None:
        self._seed = seed
        self._refused = refused
        self._supply: dict[str, Iterator[str]] = {}
        self._drawn: set[str] = set()

    def draw(self, pool: str) -> str:
        """The next name of a pool that was not drawn before from any, and is not refused."""
        supply = self._supply.setdefault(pool, _shuffled(pool, self._seed))
        name = next(name for name in supply if name not in self._drawn and not self._refused(name))
        self._drawn.add(name)
        return name


def _shuffled(pool: str, seed: int) -> Iterator[str]:
    names = list(pool_names(pool))
    random.Random(f"{pool} {seed}").shuffle(names)
    yield from names
    for first, second in permutations(names, 2):
        yield f"{first}-{second}"
    for parts in permutations(names, 3):
        yield "-".join(parts)


@cache
def pool_names(pool: str) -> tuple[str, ...]:
    """All names of a pool, sorted; halves are put together."""
    listed = table("pools")[pool]
    if "names" in listed:
        return tuple(sorted(listed["names"]))
    return tuple(sorted(left + right for left in listed["left"] for right in listed["right"] if left != right))
