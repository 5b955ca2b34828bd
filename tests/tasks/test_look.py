"""What a corpus looks like is said before anything runs: noise, another language, what was left out."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dictionaries.dictionary import Dictionary, Entry
from storage.files import Hashes
from tasks.texts import find_files
from tasks.texts.look import look_at, script_of, warnings
from tasks.texts.quality import GARBLED, PIECE, PIECES, Sample, garbled_share, language_of

ENGLISH = (
    """The ferryman knew Mira well, for she had saved his boat from the Grimwater when the storm came down. "Nobody
crosses at night," he said, but Mira Vance only laughed, and they'd gone before O'Brien and McAllister came, at 10:30,
with the B-52's drawings; it wasn't far, and she couldn't wait. See https://example.org/a1b2c3 for the rest of it all.
"""
    * 3
)
GERMAN = (
    """Der F\u00e4hrmann kannte Mira gut, denn sie hatte sein Boot gerettet, als der Sturm vom Grimwater herunterkam.
Niemand f\u00e4hrt bei Nacht hin\u00fcber, sagte er, aber Mira lachte nur und stieg in das Boot, das am Ufer lag.
"""
    * 3
)
KOREAN = "\ud574\ub9ac\ub294 \ud638\uadf8\uc640\ud2b8\uc5d0\uc11c \ub860\uc744 \ub9cc\ub0ac\ub2e4. " * 20
RUSSIAN = "Паромщик хорошо знал Mira, потому что она спасла его лодку. " * 10  # noqa: RUF001
LOOKALIKES = {"e": "c", "l": "1", "o": "0", "i": "l", "s": "5", "a": "@", "g": "9", "r": "~", "c": "(", "t": "f"}
NAMES = Dictionary((Entry("Mira", ("Anna",)), Entry("Grimwater", ("Long Lake",))))
PHRASES = Dictionary(
    (
        Entry("Mira", ("Anna",)),
        Entry("silver oar of the old harbour", ("wooden bench in the market square",)),
        Entry("the night when nobody crosses the water", ("a day on which everybody stays at home",)),
    )
)


def misread(text: str, share: float) -> str:
    """The text as character recognition gives it that takes this share of the characters for another."""
    drawn = random.Random(1)
    return "".join(LOOKALIKES.get(letter, letter) if drawn.random() < share else letter for letter in text)


def look(path: Path, text: str, dictionary: Dictionary = NAMES) -> list[str]:
    (path / "book.txt").write_text(text, encoding="utf-8")
    files = find_files((str(path / "book.txt"),), Hashes(path / "hashes.json"))
    return warnings(look_at(files, "text", dictionary), dictionary, (str(path / "book.txt"),))


@pytest.mark.parametrize(("text", "language"), [(ENGLISH, "en"), (GERMAN, "de"), (KOREAN, "ko"), (RUSSIAN, "ru")])
def test_ordinary_text_has_its_language_and_is_not_called_noise(text: str, language: str) -> None:
    assert language_of(text) == language
    assert garbled_share(text) < GARBLED / 2


@pytest.mark.parametrize("text", ["", "Mira", "12 34 " * 50])
def test_too_little_text_says_nothing(text: str) -> None:
    assert language_of(text) is None
    assert garbled_share(text) == 0


def test_books_are_not_noise_and_their_misreadings_are(material: Path) -> None:
    for book in sorted((material / "books").iterdir()):
        sample = Sample()
        sample.add(book.read_text(encoding="utf-8"))
        assert garbled_share(sample.text) < GARBLED / 2
        assert garbled_share(misread(sample.text, 0.05)) > GARBLED
        wrongly = sample.text.encode().decode("cp1252", "replace")
        assert sample.text.isascii() or garbled_share(wrongly) > GARBLED


def test_a_corpus_as_it_is_meant_brings_no_warning(tmp_path: Path) -> None:
    assert look(tmp_path, ENGLISH) == look(tmp_path, ENGLISH, PHRASES) == look(tmp_path, GERMAN) == []


def test_noise_is_said(tmp_path: Path) -> None:
    (line,) = look(tmp_path, misread(ENGLISH, 0.1))
    assert line.startswith("corpus: ")
    assert "errors of character recognition" in line


def test_another_language_or_script_than_the_dictionarys_is_said(tmp_path: Path) -> None:
    assert "reads as 'de' (ISO 639), the dictionary as 'en'" in look(tmp_path, GERMAN, PHRASES)[0]
    assert "in Cyrillic letters, the dictionary's anchors in Latin" in look(tmp_path, RUSSIAN)[0]


def test_japanese_and_chinese_count_as_one_script() -> None:
    assert script_of("\u30cf\u30ea\u30fc\u3068\u8ce2\u8005") == script_of("\u54c8\u5229") == "East Asian"
    assert script_of("12") == ""


def test_a_sample_comes_from_everywhere_and_does_not_grow() -> None:
    sample = Sample()
    for number in range(1000):
        sample.add(f"{number} " * PIECE)
    pieces = sample.text.split("\n")
    assert PIECES <= len(pieces) <= 2 * PIECES
    numbers = [int(piece.split()[0]) for piece in pieces]
    assert numbers == sorted(numbers)
    assert (numbers[0], numbers[-1] > 950) == (0, True)


def test_what_is_left_out_is_said_on_the_console_and_stands_in_the_record(
    command: Callable[..., Any], make_job: Callable[..., Path], tmp_path: Path
) -> None:
    job = make_job()
    (tmp_path / "corpus" / "scan.png").write_bytes(b"png")
    (tmp_path / "corpus" / "page.html").write_text(f"<nav>Home</nav><p>{misread(ENGLISH, 0.3)}</p>")
    (tmp_path / "corpus" / "qa.jsonl").write_text(json.dumps({"question": "Who is Mira?", "answer": None}))
    ended = command("plan", job, "--root", tmp_path / "ws", "--card", "h200")
    assert ended.returncode == 0, ended.stderr
    said = ended.stderr.splitlines()
    assert said[-2:] == [
        "nepenthe: corpus: left out of its files: navigation (1), without an answer (1); "
        "the table documents lists each",
        "nepenthe: corpus: files in its folders that are of no kind that is read there: .png (1)",
    ]
    assert "errors of character recognition" in said[-3]
