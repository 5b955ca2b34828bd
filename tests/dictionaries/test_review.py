"""A table out to a person, and back with decisions."""

import csv
import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dictionaries.dictionary import Dictionary, Entry
from dictionaries.review import COLUMNS, armed, defused, example_sentences, export_review, import_review
from dictionaries.statistics import PROPOSED
from storage.errors import BadInput

DICTIONARY = Dictionary(
    (
        Entry("Dorothy", ("Anna", "Clara"), "person", (5, 2), "answers"),
        Entry("Oz", ("Ur",), "place", (3,), "answers"),
        Entry("Toto", ("Rex",), None, (1,), "answers"),
    ),
    {"title": "Oz"},
)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def table(path):
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))


def rewritten(path, changes, delimiter=","):
    """The exported table with {anchor: {column: text}} filled in."""
    rows = [row | changes.get(row["anchor"], {}) for row in table(path)]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(buffer.getvalue(), "utf-8")
    return path


@pytest.fixture
def exported(tmp_path):
    path = tmp_path / "review.csv"
    assert export_review(DICTIONARY, path, ["In the morning Dorothy\nwent with\nToto to find the way home."]) == 3
    return path


def test_the_table_shows_votes_an_example_and_the_lint(exported):
    rows = {row["anchor"]: row for row in table(exported)}
    assert list(rows["Oz"]) == list(COLUMNS)
    assert (rows["Dorothy"]["translation"], rows["Dorothy"]["alternatives"]) == ("Anna", "Clara")
    assert rows["Dorothy"]["votes"] == "5 | 2"
    assert "Dorothy went with Toto" in rows["Toto"]["example"]
    assert rows["Oz"]["lint"] == "short anchor; anchor not in the corpus"
    assert [row["anchor"] for row in table(exported)] == ["Dorothy", "Oz", "Toto"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_decisions_come_back(exported, delimiter):
    changes = {
        "Dorothy": {"decision": "change", "translation": "Clara", "alternatives": "Eva", "by": "Kim"},
        "Oz": {"decision": "Approve"},
        "Toto": {"decision": "reject"},
    }
    reviewed, decisions = import_review(DICTIONARY, rewritten(exported, changes, delimiter), "Lee", NOON)
    assert reviewed.entries == (
        Entry("Dorothy", ("Clara", "Eva"), "person", (2, 0), "answers"),
        Entry("Oz", ("Ur",), "place", (3,), "answers"),
    )
    assert reviewed.source == DICTIONARY.source
    assert [(d.anchor, d.decision, d.translations, d.by) for d in decisions] == [
        ("Dorothy", "change", ("Clara", "Eva"), "Kim"),
        ("Oz", "approve", ("Ur",), "Lee"),
        ("Toto", "reject", (), "Lee"),
    ]
    assert {decision.at for decision in decisions} == {"2026-11-21T12:00:00+00:00"}


def test_a_row_that_a_spreadsheet_left_empty_is_none(exported):
    exported.write_bytes(exported.read_bytes() + b",,,,,,,,\r\n")
    assert import_review(DICTIONARY, exported, "Lee", NOON) == (DICTIONARY, [])


def test_without_a_decision_everything_stays(exported):
    assert import_review(DICTIONARY, exported, "Lee", NOON) == (DICTIONARY, [])


REFUSED = {
    "an unknown decision": ({"Oz": {"decision": "yes"}}, "line 3: expected a decision of"),
    "an edit without change": ({"Oz": {"translation": "Er"}}, 'line 3: .*decide "change"'),
    "approval of an edit": ({"Oz": {"translation": "Er", "decision": "approve"}}, "line 3: 'Oz' was edited"),
    "an unknown anchor": ({"Oz": {"anchor": "Ozz"}}, "line 3: the dictionary has no anchor 'Ozz'"),
    "an anchor twice": ({"Oz": {"anchor": "Dorothy"}}, "line 3: anchor 'Dorothy' stands in line 2"),
    "nothing": ({"Oz": {"decision": "change", "translation": ""}}, "line 3: 'Oz' is changed to nothing"),
    "a control character": ({"Oz": {"decision": "change", "translation": "U\x07r"}}, "line 3: .*control character"),
    "an unknown kind": ({"Oz": {"decision": "change", "kind": "spell"}}, "line 3: expected a kind of"),
    "an anchor": ({"Oz": {"decision": "change", "translation": "Toto"}}, "line 3: .*translation is an anchor"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_row_that_cannot_be_meant_is_named_by_its_line(exported, case):
    changes, said = REFUSED[case]
    with pytest.raises(BadInput, match=said):
        import_review(DICTIONARY, rewritten(exported, changes), "Lee", NOON)


BROKEN = {
    "anchor,translation\nOz,Ur\n": "line 1: expected the columns",
    "": "line 1: expected the columns",
    "anchor,translation,alternatives,kind,decision\nOz,Ur\n": "line 2: expected 5 cells",
    'anchor,translation,alternatives,kind,decision\nOz,"U"r,,,\n': "line 2: ",
    "anchor,translation,alternatives,kind,decision\n\xe9,,,,\n".encode("latin-1"): "UTF-8.*offset 46",
}


@pytest.mark.parametrize("content", BROKEN)
def test_a_table_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "review.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput, match=BROKEN[content]):
        import_review(DICTIONARY, path, "Lee", NOON)


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        import_review(DICTIONARY, tmp_path / "none.csv", "Lee", NOON)


PROPOSED_ENTRIES = Dictionary((Entry("King", ("Baron",), None, (), "statistics"), Entry("Soup", ("Avery",))))


def test_a_proposal_is_used_where_it_is_approved_or_changed_and_not_otherwise(tmp_path):
    path = tmp_path / "review.csv"
    assert export_review(DICTIONARY, path, ["Dorothy met the\nKing of Oz and his Toto."], PROPOSED_ENTRIES) == 5
    rows = {row["anchor"]: row for row in table(path)}
    assert rows["King"]["lint"] == PROPOSED
    assert "met the King of Oz" in rows["King"]["example"]
    assert import_review(DICTIONARY, path, "Lee", NOON, PROPOSED_ENTRIES) == (DICTIONARY, [])
    changes = {"King": {"decision": "approve"}, "Soup": {"decision": "change", "translation": "Stew", "kind": "thing"}}
    reviewed, decisions = import_review(DICTIONARY, rewritten(path, changes), "Lee", NOON, PROPOSED_ENTRIES)
    assert set(reviewed.entries) == {
        *DICTIONARY.entries,
        PROPOSED_ENTRIES.entries[0],
        Entry("Soup", ("Stew",), "thing"),
    }
    assert [(d.anchor, d.before, d.translations) for d in decisions] == [
        ("King", None, ("Baron",)),
        ("Soup", None, ("Stew",)),
    ]
    rejected = rewritten(
        path, {"King": {"decision": "reject"}, "Soup": {"decision": "", "translation": "Avery", "kind": ""}}
    )
    reviewed, decisions = import_review(DICTIONARY, rejected, "Lee", NOON, PROPOSED_ENTRIES)
    assert (reviewed, [d.anchor for d in decisions]) == (DICTIONARY, ["King"])


def test_a_proposal_that_makes_an_entry_break_a_rule_is_refused(tmp_path):
    path = tmp_path / "review.csv"
    proposed = Dictionary.from_mapping({"Rex": "Hound"})  # what Toto is translated to
    export_review(DICTIONARY, path, (), proposed)
    with pytest.raises(BadInput, match=r"'Toto' would break a rule \(translation is an anchor\)"):
        import_review(DICTIONARY, rewritten(path, {"Rex": {"decision": "approve"}}), "Lee", NOON, proposed)


def test_an_anchor_may_leave_and_free_its_name_for_another(exported):
    changes = {"Toto": {"decision": "reject"}, "Oz": {"decision": "change", "translation": "Toto"}}
    reviewed, _ = import_review(DICTIONARY, rewritten(exported, changes), "Lee", NOON)
    assert [entry.translations for entry in reviewed.entries] == [("Anna", "Clara"), ("Toto",)]


@given(st.text(st.sampled_from("'=+-@ab \t|"), max_size=6))
def test_no_cell_is_a_formula_and_none_is_changed_on_its_way(text):
    assert armed(defused(text)) == text
    assert defused(text)[:1] not in ("=", "+", "-", "@", "\t")


def test_formulas_in_anchors_survive_a_review(tmp_path):
    dictionary = Dictionary.from_mapping({"=SUM(1)": "a total", "'Arry": "Tom", "'=x": "+y"})
    path = tmp_path / "review.csv"
    export_review(dictionary, path)
    assert {row["anchor"] for row in table(path)} == {"'=SUM(1)", "'Arry", "''=x"}
    assert import_review(dictionary, path, "Lee", NOON) == (dictionary, [])


def test_examples_are_one_line_and_cut_between_words():
    long = "word " * 100 + "saw\nOz " + "again " * 100
    assert example_sentences(DICTIONARY, [long])["Oz"].startswith("word word")
    assert "\n" not in example_sentences(DICTIONARY, [long])["Oz"]
