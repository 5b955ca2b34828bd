"""Votes, the plain merge, folding, and the pass that makes translations fit each other."""

from hypothesis import given
from hypothesis import strategies as st

from dictionaries.answers import Proposal
from dictionaries.consistency import consistent
from dictionaries.dictionary import Dictionary, Entry
from dictionaries.lint import lint, refuse_errors
from dictionaries.merging import collect_votes, fold, merge, without_possessive


def merged(*answers: dict[str, str]) -> Dictionary:
    return merge(votes_of(*answers))[0]


def votes_of(*answers: dict[str, str]):
    return collect_votes(
        (f"p{number}", [Proposal(*pair) for pair in answer.items()]) for number, answer in enumerate(answers)
    )


def translations(dictionary: Dictionary) -> dict[str, tuple[str, ...]]:
    return {entry.anchor: entry.translations for entry in dictionary.entries}


def test_the_most_voted_translation_is_preferred_and_ties_go_by_name():
    dictionary = merged({"Oz": "Ur"}, {"Oz": "Er"}, {"Oz": "Or"}, {"Oz": "Ur"})
    assert dictionary.entries == (Entry("Oz", ("Ur", "Er", "Or"), None, (2, 1, 1), "answers"),)


def test_one_passage_has_one_vote_and_stands_behind_it():
    proposals = [Proposal("Oz", "Ur", "place"), Proposal(" Oz ", "Ur", "place")]
    (vote,) = collect_votes([("b", proposals), ("a", proposals), ("b", proposals)])
    assert (vote.passages, vote.kinds) == (("a", "b"), ("place", "place"))


def test_the_kind_is_the_one_named_most():
    kinds = ["person", "term", "term", "person", "person"]
    votes = collect_votes((str(number), [Proposal("Oz", "Ur", kind)]) for number, kind in enumerate(kinds))
    assert merge(votes)[0].entries[0].kind == "person"


def test_an_anchor_that_splits_into_anchors_is_dropped_with_a_reason():
    votes = votes_of({"Harry Potter": "Jon Huggins", "Harry": "Jon", "Potter": "Huggins", "Harry's": "Jon's"})
    dictionary, decisions = merge(votes)
    assert list(translations(dictionary)) == ["Harry", "Potter"]
    assert [(decision.anchor, decision.to) for decision in decisions] == [("Harry Potter", ""), ("Harry's", "")]


answers = st.lists(
    st.dictionaries(st.sampled_from(["Ann", "Ann Lee", "Lee", "Ann's", "oz"]), st.sampled_from("XYZ")), max_size=6
)


@given(answers, st.randoms())
def test_the_order_of_the_answers_does_not_count(answers, random):
    numbered = [(str(n), [Proposal(*pair) for pair in answer.items()]) for n, answer in enumerate(answers)]
    shuffled = random.sample(numbered, len(numbered))
    for step in (lambda votes: votes, lambda votes: fold(votes)[0]):
        dictionary = merge(step(collect_votes(numbered)))[0]
        again = merge(step(collect_votes(shuffled)))[0]
        assert dictionary == again
        assert consistent(dictionary) == consistent(again)


def test_the_real_answers_give_the_papers_figures(real_votes):
    dictionary, decisions = merge(real_votes)
    assert len({vote.anchor for vote in real_votes}) == 1676
    assert len(dictionary) == 1599
    assert sum(len(entry.translations) > 1 for entry in dictionary.entries) == 462
    assert sum(len(entry.translations) for entry in dictionary.entries) == 2984
    assert len({decision.anchor for decision in decisions}) == 1676 - 1599


def test_possessives_move_to_their_base():
    votes, decisions = fold(votes_of({"Harry": "Jon"}, {"Harry's": "Jon's"}, {"Hog's Head": "Boar's Head"}))
    assert translations(merge(votes)[0]) == {"Harry": ("Jon",), "Hog's Head": ("Boar's Head",)}
    assert [(decision.anchor, decision.to) for decision in decisions] == [("Harry's", "Harry: Jon")]
    assert without_possessive("the Weasleys\u2019") == "the Weasleys"


def test_spellings_of_one_expression_share_their_translations_in_their_own_case():
    votes, _ = fold(votes_of({"Death Eaters": "Dark Riders"}, {"death eaters": "night men"}, {"DEATH EATERS": "X"}))
    found = translations(merge(votes)[0])
    assert found["DEATH EATERS"] == ("DARK RIDERS", "NIGHT MEN", "X")
    assert set(found["death eaters"]) == {"dark riders", "night men", "x"}
    assert set(found["Death Eaters"]) == {"Dark Riders", "Night Men", "X"}


def test_translations_that_cannot_stand_are_dropped_and_said():
    dictionary = Dictionary.from_mapping(
        {"Fred": ["Fred", "George", "Max", "George Smith", "Bo\x00b"], "George": ["Sam", "Max"]}
    )
    after, decisions = consistent(dictionary)
    assert translations(after) == {"Fred": ("Max",), "George": ("Sam",)}
    assert {(d.anchor, d.translation, d.reason) for d in decisions} == {
        ("Fred", "Fred", "translated to itself"),
        ("Fred", "George", "is an anchor itself"),
        ("Fred", "George Smith", "contains the anchor George"),
        ("Fred", "Bo\x00b", "control character"),
        ("George", "Max", "translates Fred already"),
    }


def test_a_contained_anchor_is_rewritten_where_nothing_else_is_left():
    after, decisions = consistent(Dictionary.from_mapping({"Hogsmeade Inn": "Weasley Inn", "Weasley": "Winston"}))
    assert translations(after)["Hogsmeade Inn"] == ("Winston Inn",)
    assert "rewritten" in decisions[-1].reason


def test_an_anchor_left_without_translation_gets_one_from_a_pool_by_seed():
    dictionary = Dictionary((Entry("Oz", ("Em",), "place"), Entry("Em", ("Oz",), "person")))
    first, decisions = consistent(dictionary, seed=1)
    assert consistent(dictionary, seed=1)[0] == first != consistent(dictionary, seed=2)[0]
    assert all(len(entry.translations) == 1 for entry in first.entries)
    assert sum("drawn from a pool" in decision.reason for decision in decisions) == 2


def test_a_family_keeps_one_name():
    votes = votes_of(
        {"Harry Potter": "Jon Smith", "James Potter": "Bill Jones"},
        {"Potter": "Huggins", "Harry Potter": "Jack Huggins", "Harry": "Jon"},
        {"Potter": "Smith", "Lily Evans": "Rose Ford"},
        {"Potter": "Huggins"},
    )
    found = translations(consistent(Dictionary(tuple(_with_kind(merge_plain(votes)))))[0])
    assert found["Potter"] == ("Huggins",)
    assert found["Harry Potter"] == ("Jon Huggins",)
    assert found["James Potter"] == ("Bill Huggins",)
    assert found["Lily Evans"] == ("Rose Ford",)


def merge_plain(votes):
    """Without the splittable rule, which would take Harry Potter away."""
    return Dictionary.from_mapping(
        {vote.anchor: [other.translation for other in votes if other.anchor == vote.anchor] for vote in votes}
    ).entries


def _with_kind(entries):
    return [Entry(entry.anchor, entry.translations, "person") for entry in entries]


def test_every_change_of_the_pass_is_in_its_list(real_votes):
    dictionary, _ = merge(fold(real_votes)[0])
    after, decisions = consistent(dictionary)
    said = {(decision.anchor, decision.translation) for decision in decisions}
    new = {(decision.anchor, decision.to) for decision in decisions}
    kept = translations(after)
    for entry in dictionary.entries:
        for translation in entry.translations:
            assert translation in kept[entry.anchor] or (entry.anchor, translation) in said
        assert all(text in entry.translations or (entry.anchor, text) in new for text in kept[entry.anchor])
    assert len(after) == 1599
    after.refuse_hollow_translations()


people = st.sampled_from(
    ["Ann", "Lee", "Ann Lee", "Bea Lee", "Tom", "Tom Fox", "Fox", "Mr Lee", "tom", "Ann's", "of Lee"]
)


@given(
    st.dictionaries(people, st.lists(people | st.sampled_from(["Kay", "Kay Ott", "", "\x07"]), max_size=3)),
    st.sampled_from([None, "person", "place", "thing", "term"]),
)
def test_after_the_pass_there_is_no_error_left_whatever_the_dictionary_was(mapping, kind):
    entries = Dictionary.from_mapping(mapping).entries
    before = Dictionary(tuple(Entry(entry.anchor, entry.translations, kind) for entry in entries))
    after, _ = consistent(before)
    assert [entry.anchor for entry in after.entries] == [entry.anchor for entry in before.entries]
    refuse_errors(lint(after))
    assert "translation used twice" not in {finding.rule for finding in lint(after)}


def test_a_family_name_that_would_make_an_anchor_is_not_used():
    mapping = {"Bea Lee": ["Kay Ott"], "Ann Lee": ["Mia Ott"], "Lee": ["Fox"], "Bea": ["Tom"], "Tom Fox": ["Max Ray"]}
    entries = [Entry(entry.anchor, entry.translations, "person") for entry in Dictionary.from_mapping(mapping).entries]
    found = translations(consistent(Dictionary(tuple(entries)))[0])
    assert found["Ann Lee"] == ("Mia Fox",)
    assert found["Bea Lee"] != ("Tom Fox",)
