"""The Dictionary type, and what reading a file accepts and refuses."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dictionaries.dictionary import KINDS, Dictionary, Entry, canonical
from storage.errors import BadInput


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_entries_are_sorted_and_a_single_translation_needs_no_list():
    dictionary = Dictionary.from_mapping({"Toto": ["Rex", "Spot"], "Oz": "Ur"})
    assert [(entry.anchor, entry.translations) for entry in dictionary.entries] == [
        ("Oz", ("Ur",)),
        ("Toto", ("Rex", "Spot")),
    ]


def test_white_space_is_normalised_and_a_repeated_translation_counts_once():
    dictionary = Dictionary.from_mapping({" Tin\n Woodman ": ["Iron  Man", "Iron Man"]})
    assert dictionary.entries == (Entry("Tin Woodman", ("Iron Man",)),)


@pytest.mark.parametrize("second", ["Aunt Em's", "Aunt Em\u2019s"])
def test_the_same_anchor_in_another_spelling_is_refused(second):
    with pytest.raises(BadInput, match="stands twice"):
        Dictionary((Entry("Aunt Em's", ("x",)), Entry(second, ("y",))))


def test_json_toml_and_our_own_form_read_the_same(tmp_path):
    plain = Dictionary.read(written(tmp_path, "a.json", '{"Oz": "Ur", "Toto": ["Rex", "Spot"]}'))
    top = Dictionary.read(written(tmp_path, "b.toml", 'Oz = "Ur"\nToto = ["Rex", "Spot"]\n'))
    table = Dictionary.read(
        written(
            tmp_path,
            "c.toml",
            '[source]\ntitle = "Oz"\ndate = 2026-11-20\n[anchors]\nOz = "Ur"\nToto = ["Rex", "Spot"]\n',
        )
    )
    table.write(tmp_path / "d.json")
    own = Dictionary.read(tmp_path / "d.json")
    assert plain == top == table == own
    assert own.source == {"title": "Oz", "date": "2026-11-20"}
    assert {entry.provenance for entry in own.entries} == {"curated"}


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path):
    assert len(Dictionary.read(written(tmp_path, "a.json", b'\xef\xbb\xbf{"Oz": "Ur"}'))) == 1


RICH = '{"entries": [{"anchor": "Oz", "translations": ["Ur"], %s}]}'
REFUSED = {
    "latin1.json": (b'{"Caf\xe9": "Bar"}', "0xe9 at offset 5"),
    "broken.json": ('{"Oz": "Ur",\n}', "line 2"),
    "broken.toml": ("Oz = Ur\n", "expected TOML"),
    "list.json": ('["Oz"]', "expected an object"),
    "number.json": ('{"Oz": 5}', "'Oz': expected a translation"),
    "numbers.json": ('{"Oz": ["Ur", 5]}', "'Oz': expected a translation"),
    "nested.toml": ('[Oz]\nname = "Ur"\n', "'Oz': expected a translation"),
    "twice.json": ('{"Oz": "Ur", "Oz": "Er"}', "'Oz' stands twice"),
    "nothing.json": ('{"Oz": " "}', "'Oz' is translated to nothing"),
    "none.json": ('{"Oz": []}', "'Oz' has no translation"),
    "anchorless.json": ('{"": "Ur"}', "at least one character"),
    "itself.json": ('{"Aunt Em": "Aunt  Em"}', "'Aunt Em' is translated to itself"),
    "other.json": ('{"Fred": "George", "George": "Max"}', "to 'George', which is an anchor"),
    "kind.json": (RICH % '"kind": "spell"', "expected a kind of"),
    "votes.json": (RICH % '"votes": [1, 2]', "one vote count"),
    "field.json": (RICH % '"vote": 1', "unknown field 'vote'"),
    "deep.json": ('{"a":' * 100_000, "nested|expected JSON"),
    "dictionary.csv": ("Oz,Ur", "ends in .json or .toml"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_file_gives_one_sentence_that_names_file_and_place(tmp_path, name):
    content, said = REFUSED[name]
    path = written(tmp_path, name, content)
    with pytest.raises(BadInput, match=said) as caught:
        Dictionary.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"none\.json: cannot be read"):
        Dictionary.read(tmp_path / "none.json")


def test_lenient_reading_lets_pass_what_lint_shall_count(tmp_path):
    path = written(tmp_path, "a.json", '{"Fred": ["Fred", "George", ""], "George": "Max"}')
    assert Dictionary.read(path, lenient=True).entries[0].translations == ("Fred", "George", "")


def test_merging_keeps_the_whole_entry_of_the_earliest():
    curated = Dictionary.from_mapping({"Aunt Em": "Aunt Jo"}, provenance="curated")
    extracted = Dictionary.from_mapping({"Aunt Em": ["Ann", "Sue"], "Oz": "Ur"}, provenance="statistics")
    merged = curated.merged(extracted)
    assert [(entry.anchor, entry.translations, entry.provenance) for entry in merged.entries] == [
        ("Aunt Em", ("Aunt Jo",), "curated"),
        ("Oz", ("Ur",), "statistics"),
    ]


plain_text = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=6)
words = plain_text.map(canonical).filter(bool)
mappings = st.dictionaries(words, st.lists(words, min_size=1, max_size=3, unique=True), max_size=5)


@given(mappings, st.sampled_from(KINDS))
def test_writing_and_reading_gives_the_same_dictionary_and_the_same_bytes(tmp_path_factory, mapping, kind):
    path = tmp_path_factory.getbasetemp() / "round.json"
    entries = [Entry(a, tuple(ts), kind, tuple(range(len(ts))), "made up") for a, ts in mapping.items()]
    Dictionary(tuple(entries)).write(path)
    first = path.read_bytes()
    again = Dictionary.read(path, lenient=True)
    again.write(path)
    assert again == Dictionary(tuple(reversed(entries)))
    assert path.read_bytes() == first
    assert json.loads(first)["source"] == {}
