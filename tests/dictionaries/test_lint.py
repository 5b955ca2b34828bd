"""Every rule on a case of its own, the figures of METHOD.md 5 on the real dictionary."""

import pytest

from dictionaries.consistency import consistent
from dictionaries.dictionary import Dictionary, Entry
from dictionaries.english import FUNCTION_WORDS, common_words, is_common
from dictionaries.lint import RULES, UNSPOKEN, lint, refuse_errors
from dictionaries.merging import fold, merge
from storage.errors import BadInput

GOOD = {"Dorothy": "Anna", "Tin Woodman": "Iron Porter", "Munchkins": "Lowlanders", "Emerald City": "Marble Town"}
CORPUS = ["Dorothy met the Tin\nWoodman. Toto saw the Munchkins near the Emerald City, and Toto barked at Henry."]


def counts(mapping, **given):
    return {finding.rule: finding.count for finding in lint(Dictionary.from_mapping(mapping), **given)}


BROKEN = {
    "translated to nothing": {"Oz": [], "Em": ""},
    "translated to itself": {"Oz": ["Ur", "Oz"], "Aunt Em": "Aunt  Em"},
    "translation is an anchor": {"Fred": "George", "George": ["Max", "Fred"]},
    "translation contains its own anchor": {"Oz": "Oz Town", "Em": "Aunt Em"},
    "unfit text": {"Oz": "U\x07r", "Em": "<b>Jo</b>"},
    "anchor begins another anchor": {"Tin": "Tan", "Tin Man": "Zinc Man", "Tin Can": "Zinc Can"},
    "anchor splits into anchors": {"Ann": "Bea", "Ann's": "Bea's", "Lee": "Kay", "Ann Lee": "Bea Kay"},
    "spellings translated apart": {"Elf": "Imp", "elf": "sprite", "Wood-Man": "Joe", "Woodman": "Jim"},
    "several translations": {"Oz": ["Ur", "Er"], "Em": ["Jo", "Flo"]},
    "translation used twice": {"Oz": ["Ur", "Er"], "Em": ["ur", "Er"]},
    "translation starts with a function word": {"Oz": "The Land", "Em": "Of Old"},
    "short anchor": {"F": "Mark", "Al": "Bob"},
    "anchor is a common word": {"castle": "fortress", "Stopped": "Ended"},
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_counts_its_two_cases(rule):
    mapping = BROKEN[rule]
    assert counts(mapping)[rule] == 2
    assert rule not in counts(GOOD)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Dorothy met the Tin Woodman, and the Munchkins saw the Emerald City.", 0),
        ("Dorothy traf den blechernen Holzfäller, und die Zwerge sahen von weitem die grüne Stadt.", 2),
        ("해리는 호그와트에서 론을 만났다. 해리가 크게 웃었다.", 3),
        ("ذهب هاري إلى المدرسة", 3),
    ],
)
def test_rules_that_do_not_speak_the_language_of_the_corpus_are_named(text, said):
    found = counts(GOOD, corpus=[text])
    assert found.get(UNSPOKEN, 0) == said
    assert counts(GOOD, corpus=[text], reference={"der"}).get(UNSPOKEN, 0) == max(0, said - 1)


def test_a_name_of_two_syllables_is_not_short():
    assert "short anchor" not in counts({"해리": "존", "哈利": "约翰"})
    assert counts({"론": "지오"})["short anchor"] == 1


def test_an_anchor_that_is_the_whole_translation_also_counts_as_contained():
    found = counts({"Fred": ["George", "George Smith", "Georgette"], "George": "Max"})
    assert found["translation is an anchor"] == 1
    assert found["translation contains an anchor"] == 2


def test_a_good_dictionary_has_no_finding_at_all():
    assert counts(GOOD) == {}


def test_what_the_corpus_tells():
    mapping = GOOD | {"Kansas": "Toto", "Woodman": "Porter"}
    findings = {finding.rule: finding for finding in lint(Dictionary.from_mapping(mapping), corpus=CORPUS)}
    assert findings["anchor not in the corpus"].examples == ("Kansas",)
    assert findings["translation in the corpus"].examples == ("Kansas -> Toto",)
    uncovered = findings["names without a translation"]
    assert uncovered.count == 2
    assert uncovered.examples == ("Toto, 2 times (50.0% of 6 such words in all)", "Henry, 1 times")


def test_a_reference_list_replaces_ours():
    found = counts({"Blorps": "Glimps", "castle": "fortress"}, reference=["blorp"])
    assert found == {"anchor is a common word": 1}


def test_tokens_are_compared_where_they_can_be_counted():
    found = counts({"Oz": "the far old town", "Emerald City": "Marble Town"}, tokens_of=lambda text: len(text.split()))
    assert found["translation costs more tokens"] == 1


def test_errors_come_first_and_stop_whoever_asks():
    findings = lint(Dictionary.from_mapping({"Oz": ["Ur", "Er"], "Em": "Em", "Al": "Oz"}))
    severities = [finding.severity for finding in findings]
    assert severities == sorted(severities)
    assert all(RULES[finding.rule][0] == finding.severity for finding in findings)
    with pytest.raises(BadInput, match="translated to itself, for example Em -> Em"):
        refuse_errors(findings)
    refuse_errors(finding for finding in findings if finding.severity == "warning")


def test_the_figures_of_the_real_dictionary(real_votes):
    found = {finding.rule: finding.count for finding in lint(merge(real_votes)[0])}
    assert found["anchor begins another anchor"] == 116
    assert found["translation is an anchor"] == 94
    assert found["translation contains an anchor"] == 263
    assert found["translated to itself"] == 2
    assert found["several translations"] == 462


def test_the_consistency_pass_leaves_no_error_behind(real_votes):
    dictionary, _ = consistent(merge(fold(real_votes)[0])[0])
    refuse_errors(lint(dictionary))
    assert "translation used twice" not in {finding.rule for finding in lint(dictionary)}


def test_the_lists_of_words_are_sorted_and_small_and_know_ordinary_forms():
    assert {"the", "of", "a"} <= FUNCTION_WORDS <= common_words()
    assert all(word == word.lower() and word.isalpha() for word in common_words())
    assert all(map(is_common, ["Hurried", "stopping", "boxes", "Castle's", "don\u2019t", "happiness", "loudly"]))
    assert not any(map(is_common, ["Quidditch", "Munchkin", "Toto", "Argus", "Barry", "Oz"]))


def test_an_entry_may_be_empty_and_still_be_linted():
    assert lint(Dictionary((Entry("Oz", ()),)))[0].rule == "translated to nothing"
