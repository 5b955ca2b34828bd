"""Korean particles: what may stand at a name without a space, and how it changes with the name's last sound.

The list is grammar, a closed class, and no vocabulary. Kiwi (0.24), the kept library for Korean, knows further endings,
but weighs 105 MB, reads 60 kB of text a second where this reads 5 MB, and cuts a name out of a word that it does not
know. Names that do not end in a Korean syllable keep the particle that stands there: nobody can tell how they are read.
"""

import re
import unicodedata

# Endings of the copula: behind a consonant it is written, behind a vowel it falls away.
_COPULA = (
    "랑 나 나마 며 라고 라는 라도 라면 라 라니 라서 라던데 라곤 라야 란 란다 래 래요 든지 든 든가 "
    "야말로 야 여 네 고 다 지만 니까 거든 죠 로구나 시여"
)
# After a consonant, after a vowel. The sound l counts as a vowel for those that begin like the last alone.
_ALTERNATING = (
    *(("은", "는"), ("이", "가"), ("을", "를"), ("과", "와"), ("아", "야"), ("은커녕", "는커녕"), ("이었", "였")),
    *(("이에요", "예요"), *((f"이{ending}", ending) for ending in _COPULA.split())),
    *(("으로서", "로서"), ("으로써", "로써"), ("으로", "로")),
)
_FIXED = (
    "에서 에선 에게 에게서 에겐 에 에다 에다가 의 도 만 까지 부터 처럼 보다 하고 하며 한테 한테서 한텐 께 께서 "
    "마저 조차 밖에 뿐 대로 만큼 같이 같은 답게 더러 보고 마냥 치고 커녕 씨 님 군 양 들 끼리 마다 입니다 "
    "이니 이자 인 인데 인지 인가 인걸 일 일까 다 던 습니다 는데 어 어요 지 요 네"
)
_ALTERNATE = tuple(particle for pair in _ALTERNATING for particle in pair)
_EVERY = sorted({*_ALTERNATE, *_FIXED.split()}, key=lambda particle: (-len(particle), particle))
PARTICLES = rf"(?:{'|'.join(_EVERY)}){{0,4}}"
"""An expression for the particles at a name, none included."""
_RUN = re.compile(PARTICLES + r"(?![\uac00-\ud7a3])")
_VOWEL, _RIEUL = "", "\u11af"


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
    pairs = [(_behind(pair, had), _behind(pair, wants)) for pair in _ALTERNATING]
    for was, becomes in sorted(pairs, key=lambda pair: -len(pair[0])):
        if particles == was or (particles.startswith(was) and was != "이"):
            return becomes + particles[len(was) :]
    if had and not wants and particles.startswith("이"):
        return particles[1:]  # the i that a name with a consonant takes before further particles
    return particles


def _behind(pair: tuple[str, str], final: str) -> str:
    """The one of a pair that stands behind such a sound."""
    open_ = final == _VOWEL or (final == _RIEUL and pair[0].startswith("으로"))
    return pair[1] if open_ else pair[0]


def _final(name: str) -> str | None:
    """The consonant at a Korean syllable's end, empty after a vowel; None for any other character."""
    letters = unicodedata.normalize("NFD", name[-1:])
    return (letters[2:] if "\uac00" <= name[-1] <= "\ud7a3" else None) if letters else None
