"""Korean particles: what may stand at a name without a space, and how it changes with the name's last sound.

The list is grammar, a closed class, and no vocabulary. Names that do not end in a Korean syllable keep the particle
that stands there: nobody can tell how they are read.
"""

import re
import unicodedata

# After a consonant, after a vowel. The sound l counts as a vowel for the last of them alone.
_ALTERNATING = (
    *(
        ("은", "는"),
        ("이", "가"),
        ("을", "를"),
        ("과", "와"),
        ("아", "야"),
        ("이랑", "랑"),
        ("이나", "나"),
        ("이며", "며"),
    ),
    *(("이라고", "라고"), ("이라는", "라는"), ("이라도", "라도"), ("이라면", "라면"), ("이라", "라"), ("이란", "란")),
    *(
        ("이든지", "든지"),
        ("이든", "든"),
        ("이야말로", "야말로"),
        ("이야", "야"),
        ("이여", "여"),
        ("이네", "네"),
        ("이고", "고"),
    ),
    *(("이었", "였"), ("이에요", "예요"), ("이다", "다"), ("이지만", "지만"), ("으로", "로")),
)
_FIXED = (
    "에서 에게 에게서 에 의 도 만 까지 부터 처럼 보다 하고 한테 한테서 께 께서 마저 조차 밖에 뿐 대로 만큼 같이 더러 "
    "씨 님 군 양 들 끼리 마다 입니다 이니 인 일 다 던 습니다 어요 지 요 네"
)
_EVERY = sorted({*(p for pair in _ALTERNATING for p in pair), *_FIXED.split()}, key=lambda p: (-len(p), p))
PARTICLES = rf"(?:{'|'.join(_EVERY)}){{0,4}}"
"""An expression for the particles at a name, none included."""
_ALTERNATE = tuple(p for pair in _ALTERNATING for p in pair)
_RUN = re.compile(PARTICLES + r"(?![\uac00-\ud7a3])")


def particles_at(text: str, at: int) -> str | None:
    """The particles from `at` to the end of the word; None where other syllables stand there."""
    match = _RUN.match(text, at)
    return match.group() if match else None


def alternates(particles: str) -> bool:
    """Whether particles hang on the last sound of the name before them."""
    return particles.startswith(_ALTERNATE)


def fitting(particles: str, old: str, new: str) -> str:
    """The particles of `old` as `new` wants them."""
    had, wants = _final(old), _final(new)
    if had is None or wants is None or not particles:
        return particles
    for closed, open_ in sorted(_ALTERNATING, key=lambda pair: -len(pair[had == ""])):
        is_rieul = closed == "으로"
        was = open_ if had == "" or (is_rieul and had == "\u11af") else closed
        if particles == was or (particles.startswith(was) and was != "이"):
            return (open_ if wants == "" or (is_rieul and wants == "\u11af") else closed) + particles[len(was) :]
    if had and not wants and particles.startswith("이"):
        return particles[1:]  # the i that a name with a consonant takes before further particles
    return particles


def _final(name: str) -> str | None:
    """The consonant at a Korean syllable's end, empty after a vowel; None for any other character."""
    letters = unicodedata.normalize("NFD", name[-1:])
    return (letters[2:] if "\uac00" <= name[-1] <= "\ud7a3" else None) if letters else None
