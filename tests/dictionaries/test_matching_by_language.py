# ruff: noqa: RUF001
"""Anchors as scripts and languages write them: every occurrence is found, where it is, and translated in its form."""

import pytest

from dictionaries.dictionary import Dictionary
from dictionaries.lint import lint
from dictionaries.matching import Matcher
from dictionaries.validation import stands_in


def translated(mapping: dict[str, str], text: str) -> tuple[list[str], str]:
    """What is found, and the text with the translations in its place."""
    dictionary = Dictionary.from_mapping(mapping)
    found, written, at = [], "", 0
    for match in Matcher(dictionary).find(text):
        translation = match.write(dictionary.entries[match.entry].translations[0])
        found.append(text[match.start : match.end])
        written += text[at : match.start] + translation + match.particles(translation)
        at = match.reach
    return found, written + text[at:]


KOREAN = {"해리": "존", "호그와트": "북고성", "론": "지오"}
RUSSIAN = {"Рон": "Том", "Гермиона": "Анна", "Гарри Поттер": "Джон Смит", "Запретный лес": "Тихий парк"}
POTTER = {"Harry Potter": "Jon Smith", "Harry": "Jon"}
LANGUAGES = {
    "Korean": (
        KOREAN,
        "해리는 호그와트에서 론을 만났다. 해리가 웃었다. 해리, 어디 가?",
        "해리 호그와트 론 해리 해리",
        "존은 북고성에서 지오를 만났다. 존이 웃었다. 존, 어디 가?",
    ),
    "Korean, the other way": (
        {"존": "해리", "북고성": "호그와트"},
        "존은 존이 존을 존과 존으로 존아 존이라고 존이는 존이었다 북고성으로 존들이",
        "존 존 존 존 존 존 존 존 존 북고성 존",
        "해리는 해리가 해리를 해리와 해리로 해리야 해리라고 해리는 해리였다 호그와트로 해리들이",
    ),
    "Korean, further endings": (
        KOREAN,
        "해리라니! 해리로서는 해리인데요, 해리는커녕 해리에겐 해리죠. 해리였어요? 해리로부터, 해리에게로.",
        None,
        "존이라니! 존으로서는 존인데요, 존은커녕 존에겐 존이죠. 존이었어요? 존으로부터, 존에게로.",
    ),
    "Korean, an l at the end": ({"해리": "칼"}, "해리로 해리는 해리에게", "해리 해리 해리", "칼로 칼은 칼에게"),
    "Korean, other words": (KOREAN, "해리엇은 론리, 마론은 존다.", "", "해리엇은 론리, 마론은 존다."),
    "Chinese": (
        {"哈利": "约翰", "霍格沃茨": "神秘学院"},
        "哈利在霍格沃茨遇见了罗恩。",
        "哈利 霍格沃茨",
        "约翰在神秘学院遇见了罗恩。",
    ),
    "Chinese, with and without a dot": (
        {"哈利·波特": "约翰·史密", "哈利": "约翰"},
        "哈利·波特和哈利波特和哈利",
        "哈利·波特 哈利波特 哈利",
        "约翰·史密和约翰·史密和约翰",
    ),
    "Japanese": (
        {"ハリー": "ジョン", "ロン": "トム", "ホグワーツ": "北学院"},
        "ハリーはホグワーツでロンに会った。ロンドン",
        "ハリー ホグワーツ ロン",
        "ジョンは北学院でトムに会った。ロンドン",
    ),
    "Japanese, joined in four ways": (
        {"ハリー・ポッター": "ジョン・スミス"},
        "ハリー・ポッターとハリーポッターとハリー＝ポッターとハリー ポッターとﾊﾘｰ",
        None,
        "ジョン・スミスとジョン・スミスとジョン・スミスとジョン・スミスとﾊﾘｰ",
    ),
    "Japanese, half-width all over": (
        {"ハリー・ポッター": "ジョン・スミス"},
        "ﾊﾘｰ･ﾎﾟｯﾀｰとハリー･ポッター",
        None,
        "ジョン・スミスとジョン・スミス",
    ),
    "Thai": ({"แฮร์รี่": "จอห์น"}, "แล้วแฮร์รี่ก็หัวเราะ", "แฮร์รี่", "แล้วจอห์นก็หัวเราะ"),
    "a Latin name in Japanese": ({"Harry": "Jon"}, "Harryは Harryson", "Harry", "Jonは Harryson"),
    "a Latin name in Korean": ({"Harry": "Jon"}, "Harry가 Harry는 Harry팬", "Harry Harry Harry", "Jon가 Jon는 Jon팬"),
    "half width": ({"ハリー": "ジョン"}, "ﾊﾘｰは笑った。", "ﾊﾘｰ", "ジョンは笑った。"),
    "full width": (POTTER, "Ｈａｒｒｙ　Ｐｏｔｔｅｒ", None, "Ｊｏｎ　Ｓｍｉｔｈ"),
    "full width with a hyphen": (POTTER, "Ｈａｒｒｙ－Ｐｏｔｔｅｒ", None, "Ｊｏｎ－Ｓｍｉｔｈ"),
    "decomposed accents": ({"Zoé": "Ana"}, "Zoe\u0301 and Zoé, no Zoe", "Zoe\u0301 Zoé", "Ana and Ana, no Zoe"),
    "an anchor with decomposed accents": ({"Zoe\u0301": "Ana"}, "Zoe\u0301 and Zoé", "Zoe\u0301 Zoé", "Ana and Ana"),
    "decomposed Korean": ({"해리": "존"}, "\u1112\u1162\u1105\u1175\u1102\u1173\u11ab 간다", None, "존은 간다"),
    "Finnish": (
        {"Harry": "Joni", "Tylypahka": "Pohjola", "Ron": "Tom"},
        "Harryn pöllö lensi Tylypahkaan, ja Harrylle Ronin kissa.",
        "Harry Tylypahka Harry Ron",
        "Jonin pöllö lensi Pohjolaan, ja Jonille Tomin kissa.",
    ),
    "Turkish": (
        {"Harry": "Jon", "Hogwarts": "Kuzey"},
        "Harry'nin baykuşu Hogwarts'ta kaldı.",
        "Harry Hogwarts",
        "Jon'nin baykuşu Kuzey'ta kaldı.",
    ),
    "Turkish, a plural": (
        {"Hermione": "Anna"},
        "Bugün Hermioneler çok gülüyordu.",
        "Hermione",
        "Bugün Annaler çok gülüyordu.",
    ),
    "Hungarian": (
        {"Hermione": "Anna", "Roxfort": "Kastély", "Ron": "Eszter"},
        "Hermionénak nem volt könyve a Roxfortban, és Hermionét senki sem látta Ronnal.",
        "Hermionénak Roxfort Hermionét Ron",
        "Annának nem volt könyve a Kastélyban, és Annát senki sem látta Eszternal.",
    ),
    "Swedish": (
        {"Harry": "Jon", "Hermione": "Anna"},
        "Harrys uggla flög hem till Hermiones hus och satt vid fönstret.",
        "Harry Hermione",
        "Jons uggla flög hem till Annas hus och satt vid fönstret.",
    ),
    "Dutch": (
        {"Hermelien": "Anna", "Roemer": "Tom"},
        "Hermeliens kat zat bij het raam en Roemers boek lag op tafel.",
        "Hermelien Roemer",
        "Annas kat zat bij het raam en Toms boek lag op tafel.",
    ),
    "Serbian": (
        {"Снејп": "Том", "Хермиона": "Ана", "Хогвортс": "Север"},
        "Хари је видео Снејпа и Хермиону у Хогвортсу.",
        "Снејп Хермиону Хогвортс",
        "Хари је видео Тома и Ану у Северу.",
    ),
    "German": (
        {"Harry": "Jon", "Hermine": "Anna"},
        "Harrys Eule flog mit Hermines Katze nach Hause.",
        "Harry Hermine",
        "Jons Eule flog mit Annas Katze nach Hause.",
    ),
    "Russian": (
        RUSSIAN,
        "Гарри Поттер встретил Рона и Гермиону в Запретном лесу. ГЕРМИОНА и ГЕРМИОНУ видела Гарри Поттера.",
        None,
        "Джон Смит встретил Тома и Анну в Тихом парку. АННА и АННУ видела Джон Смита.",
    ),
    "English capitals, hyphens, plural, possessive": (
        POTTER,
        "HARRY POTTER, harry potter, Harry-Potter, the Harry Potters, Harry Potter's, Harry\nPotter, Harry",
        None,
        "JON SMITH, jon smith, Jon-Smith, the Jon Smiths, Jon Smith's, Jon Smith, Jon",
    ),
    "everyday words in small letters": (
        {"Great Hall": "Big Room", "Will": "Bob"},
        "She will see the great hall of Will, the Great Hall.",
        None,
        "She will see the great hall of Bob, the Big Room.",
    ),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_are_found_and_translated_as_the_language_writes_them(language):
    mapping, text, names, written = LANGUAGES[language]
    found, result = translated(mapping, text)
    assert result == written
    assert names is None or found == names.split()


def test_places_count_in_the_original_also_behind_letters_that_are_composed():
    dictionary = Dictionary.from_mapping({"José": "Luis", "Ana": "Eva"})
    text = "Jose\u0301, Jose\u0301, Ana"
    for start in range(len(text)):
        for end in range(start, len(text) + 1):
            for match in Matcher(dictionary).find(text, start, end):
                assert start <= match.start < match.end <= end
                assert text[match.start : match.end] in ("Jose\u0301", "Ana")
    assert [(match.start, match.end) for match in Matcher(dictionary).find(text)] == [(0, 5), (7, 12), (14, 17)]


def test_a_limit_keeps_particles_that_it_cuts_and_names_that_it_does_not():
    matcher = Matcher(Dictionary.from_mapping({"해리": "존", "哈利": "约翰", "ロン": "トム"}))
    assert [(m.end, m.reach) for m in matcher.find("해리는", 0, 2)] == [(2, 2)]
    assert [(m.end, m.reach) for m in matcher.find("해리는", 0, 3)] == [(2, 3)]
    assert matcher.find("해리엇", 0, 2) == []
    assert [match.end for match in matcher.find("哈利在", 0, 2)] == [2]
    assert matcher.find("ロンドン", 0, 2) == []


def test_a_limit_inside_a_word_leaves_no_half_word_with_an_ending():
    text = "МакРона встретил старый Иван в тёмном лесу, потом Рона"
    matcher = Matcher(Dictionary.from_mapping({"Рон": "Том"}))
    assert [match.start for match in matcher.find(text, 3)] == [text.rindex("Рона")]
    assert matcher.find(text, 3, len(text) - 1) == []


def test_what_stands_as_the_dictionary_has_it_has_no_form():
    matches = Matcher(Dictionary.from_mapping(POTTER)).find("Harry\nPotter and Harry's owl")
    assert [match.form for match in matches] == [None, None]


def test_a_short_text_without_a_language_is_read_as_english():
    assert Matcher(Dictionary.from_mapping({"Ron": "Tom", "Oz": "Ur"})).find("Ronnie, Ozma, Rons") == []


def test_the_lint_and_the_check_of_answers_know_scripts_without_spaces():
    assert stands_in("哈利", "哈利在霍格沃茨")
    assert stands_in("해리", "해리는")
    assert not stands_in("arry", "Harry")
    mapping = {"哈利": "小霍格沃茨", "霍格沃茨": "神秘学院"}
    rules = {finding.rule for finding in lint(Dictionary.from_mapping(mapping), ["哈利在霍格沃茨遇见了罗恩。"])}
    assert "translation contains an anchor" in rules
    assert "anchor not in the corpus" not in rules
