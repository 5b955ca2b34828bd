"""Membership inference: can one tell from the model that it was trained on the target?

Scores of a text, higher for what looks trained on: mean log-probability; log-probability by zlib bytes (Carlini
et al. 2021, arXiv 2012.07805); Min-K %, the mean over the least probable tokens (Shi et al. 2024, arXiv 2310.16789);
Min-K++, the same over tokens standardised by what the model expected there (Zhang et al. 2025, arXiv 2404.02936).
The AUC counts how often a member scores above a non-member. Where both differ in more than membership (another cast,
another author), 0.5 is not the value of innocence: compare with gold.
"""

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from storage.artifact import Artifact
from storage.errors import BadInput
from tasks.audit.common import Attack, Attacked, AuditedModel, Metric
from tasks.audit.passages import PassageSettings
from tasks.audit.verdicts import AuditValues, Ruling, against_gold, beyond, leak, plain
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.intervals import Value
from tasks.measure.loaded import LoadedModel
from tasks.measure.memorisation import MIN_K, auc
from tasks.measure.rows import Item, Measured
from tasks.texts import Texts

if TYPE_CHECKING:
    from torch import Tensor

MARGIN = 0.05  # of an AUC
INNOCENCE = Value(0.5, 0.5, 0.5, 0)
NEEDS = (
    "needs text as like the target as can be that no model has read (audit.nonmembers or "
    "audit.neighbours); the translated blocks are no such text: they are the target with other names"
)


@stage("membership", version=1, heavy=True, reads=True, protected=True)
def membership(
    context: Context,
    suspect: AuditedModel,
    corpus: Artifact,
    nonmembers: Texts,
    settings: PassageSettings,
    min_k: float,
) -> Counts:
    """Membership inference: target passages against passages that no model has read."""
    attacked = Attacked(context, suspect)
    both = dict(attacked.passages(corpus, nonmembers, settings))
    members, others = ([passage.text for passage in both[task]] for task in ("target", "control"))
    unread = _unread(others, attacked.documents(corpus))
    measures = inferred(attacked.loaded, members, unread, share=min_k)
    return attacked.write(measures, 5)


def _unread(passages: list[str], documents: list[str]) -> list[str]:
    """The passages without those that stand in the target as well, as a common phrase may. Raises BadInput for most."""
    whole = "\n".join(documents)
    unread = [text for text in passages if text not in whole]
    if 2 * len(unread) < len(passages):
        raise BadInput(
            f"audit.nonmembers: expected text that is not in the corpus, found {len(passages) - len(unread)} of "
            f"{len(passages)} passages in it: give text that no model has read"
        )
    return unread


SHOWN_CHARACTERS = 200


def inferred(
    loaded: LoadedModel, members: Sequence[str], others: Sequence[str], *, share: float = 0.2
) -> list[Measured]:
    """AUC of members against others for loss, zlib, min-k, min-k++, and min-k at the K of TOFU and MUSE.

    `share` is the K of min-k and min-k++.
    """
    texts = [*members, *others]
    logs, standards = zip(*_scored(loaded, texts), strict=True)
    sizes = [len(zlib.compress(text.encode())) for text in texts]
    scores = {
        "loss": [float(log_T.mean()) for log_T in logs],
        "zlib": [float(log_T.sum()) / size for log_T, size in zip(logs, sizes, strict=True)],
        "min-k": [lowest_mean(log_T, share) for log_T in logs],
        "min-k++": [lowest_mean(standard_T, share) for standard_T in standards],
        f"min-k {MIN_K}": [lowest_mean(log_T, MIN_K) for log_T in logs],
    }
    return [_measured(task, texts, column, len(members)) for task, column in scores.items()]


def lowest_mean(values: np.ndarray, share: float) -> float:
    """Mean of the lowest `share` of the values, of at least one."""
    count = max(1, int(len(values) * share))
    return float(np.partition(values, count - 1)[:count].mean())


def _scored(loaded: LoadedModel, texts: Sequence[str]) -> list[np.ndarray]:
    """[2, T] of each text: each token's log-probability, and by how many deviations it is above expectation."""
    from tasks.measure.scoring import encode, token_statistics

    sequences = [text.ids for text in encode(loaded.tokenizer, texts)]
    scored = token_statistics(loaded, sequences, [1] * len(texts), _surprise)
    return [row_T2.double().T.contiguous().numpy() for row_T2 in scored]


def _surprise(logits_RV: "Tensor", next_R: "Tensor") -> "Tensor":
    """[R, 2]: log-probability of each row's next token; how many deviations it lies above the row's expectation."""
    import torch

    log_RV = logits_RV.log_softmax(dim=-1)
    chosen_R = log_RV.gather(1, next_R[:, None])[:, 0]
    # A token that cannot come (logit -inf) has weight 0, and 0 times -inf is no number.
    finite_RV = torch.where(log_RV.isfinite(), log_RV, 0.0)
    mean_R = (log_RV.exp() * finite_RV).sum(dim=-1)
    spread_R = (log_RV.exp() * (finite_RV - mean_R[:, None]) ** 2).sum(dim=-1).sqrt()
    return torch.stack([chosen_R, (chosen_R - mean_R) / spread_R.clamp_min(1e-6)], dim=1)


def _measured(task: str, texts: Sequence[str], scores: Sequence[float], members: int) -> Measured:
    value, stderr = auc(scores[:members], scores[members:])
    items = [
        Item(number, text[:SHOWN_CHARACTERS], "", "", score, {"member": number < members})
        for number, (text, score) in enumerate(zip(texts, scores, strict=True))
    ]
    return Measured("membership_auc", value, stderr, len(items), tuple(items), task)


def judge(values: AuditValues) -> Ruling:
    """Far below the reference tells as well: such a model is marked as one that was trained against the text."""
    cases = [
        against_gold(values, "membership_auc", task, task, INNOCENCE, "innocence")
        for task in values.tasks("membership_auc")
    ]
    lead = "Telling target passages from others, AUC"
    status, sentence = leak(lead, cases, plain, MARGIN)
    below = any(case.model and case.reference and beyond(case.reference, case.model, MARGIN) for case in cases)
    if status != "nothing" or not below:
        return status, sentence
    return "avoided", f"{sentence} But it lies below: the target stands out as avoided."


MEMBERSHIP = Attack(
    stage=membership,
    title="Membership",
    question="Can one tell by its surprise which passages it was trained on? 0.5 is guessing.",
    metrics={
        "membership_auc": Metric(
            "chance that a target passage scores above a passage that was not trained on",
            "auc",
            conditions=lambda score: ("", score),
        ),
    },
    calls=lambda target, texts, settings: (
        [(target.corpus, texts.nonmembers, settings.passages, settings.min_k)] if texts.nonmembers else []
    ),
    judge=judge,
    untested="Membership inference: whether one can tell from the model that it was trained on the text.",
    leak="membership inference",
    missing=lambda texts: {} if texts.nonmembers else {"membership": NEEDS},
)
