"""The attacks on a model that claims to have forgotten: one file an attack, in the order in which they are made.

The same passages, questions and prompts for every model, drawn by seed, so that models can be compared item by item.
"""

from collections.abc import Mapping

from tasks.audit.collateral import COLLATERAL
from tasks.audit.common import Attack, AuditTexts, Metric
from tasks.audit.depth import DEPTH
from tasks.audit.extraction import EXTRACTION
from tasks.audit.forms import FORMS
from tasks.audit.instruction import INSTRUCTION
from tasks.audit.membership import MEMBERSHIP
from tasks.audit.prefilled import PREFILLED
from tasks.audit.quantisation import QUANTISATION
from tasks.audit.questions import QUESTIONS
from tasks.audit.relearning import RELEARNING
from tasks.audit.screen import SCREEN
from tasks.audit.side_effects import SIDE_EFFECTS
from tasks.audit.translations import TRANSLATIONS
from tasks.audit.verbatim import VERBATIM

ATTACKS: Mapping[str, Attack] = {
    attack.stage.kind: attack
    for attack in (
        VERBATIM,
        EXTRACTION,
        QUESTIONS,
        PREFILLED,
        MEMBERSHIP,
        RELEARNING,
        QUANTISATION,
        SIDE_EFFECTS,
        INSTRUCTION,
        TRANSLATIONS,
        DEPTH,
        SCREEN,
        FORMS,
        COLLATERAL,
    )
}
METRICS: Mapping[str, Metric] = {name: metric for attack in ATTACKS.values() for name, metric in attack.metrics.items()}
ATTACK_OF: Mapping[str, str] = {name: kind for kind, attack in ATTACKS.items() for name in attack.metrics}
"""The attack that a metric belongs to."""


def not_made(texts: AuditTexts) -> dict[str, str]:
    """Attacks that cannot be made with these texts, then parts of attacks, each with the reason."""
    reasons = [item for attack in ATTACKS.values() for item in attack.missing(texts).items()]
    return dict(sorted(reasons, key=lambda item: item[0] not in ATTACKS))
