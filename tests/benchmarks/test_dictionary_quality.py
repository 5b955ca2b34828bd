"""How good the statistical extractor is: against the truth of the demo's world, and what it finds in a novel."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from dictionaries.lint import lint
from dictionaries.statistics import extract
from tasks.demo.world import make_world


def measured(found: Iterable[str], truth: Iterable[str]) -> str:
    """Precision and recall, with what was missed and what was found besides."""
    found, truth = set(found), set(truth)
    both = found & truth
    return (
        f"precision {len(both) / max(1, len(found)):.3f}, recall {len(both) / len(truth):.3f} "
        f"({len(truth)} true, {len(found)} found); missed: {', '.join(sorted(truth - found)) or 'none'}; "
        f"besides: {', '.join(sorted(found - truth)) or 'none'}"
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("reference", [0, 50, 2800])
def test_the_world_s_anchors(seed: int, reference: int) -> None:
    world = make_world(seed)
    truth = [entry.anchor for entry in world.dictionary.entries]
    extraction = extract(world.target.values(), world.generic[:reference])
    found = [entry.anchor for entry in extraction.dictionary.entries]
    print(f"\nworld {seed}, {reference} stories as reference: {measured(found, truth)}")


def test_the_oz_book(material: Path) -> None:
    book = (material / "books" / "01_wonderful_wizard_of_oz.txt").read_text("utf-8")
    other = (material / "books" / "alice_in_wonderland.txt").read_text("utf-8")
    stories = (material / "corpora" / "tinystories.txt").read_text("utf-8")
    for name, reference in (("no reference", []), ("tinystories and Alice", [stories, other])):
        extraction = extract([book], reference)
        print(f"\nOz, {name}: {len(extraction.dictionary)} anchors")
        print("; ".join(f"{e.anchor} -> {e.translations[0]} ({e.kind})" for e in extraction.dictionary.entries))
        print("left out:", "; ".join(f"{what} ({why})" for what, why in extraction.left_out[:40]))
        for finding in lint(extraction.dictionary, [book]):
            print(f"lint, {finding.severity}: {finding.rule} {finding.count}: {'; '.join(finding.examples[:3])}")
