"""Extraction strength: how little of a passage must be given so that greedy decoding gives all the rest.

Carlini et al. 2021 (arXiv 2012.07805) call a text extractable if a prompt makes the model say it; as a number per
passage, 1 - k / T with k the fewest first tokens that do, it is the extraction strength of Wang et al. 2025
(arXiv 2406.09179). No generation is needed: greedy decoding repeats the text as long as the text's next token is the
most probable one, so k ends where the last wrong prediction lies.
"""

from collections.abc import Sequence

from storage.artifact import Artifact
from tasks.audit.common import Attack, Attacked, AuditedModel, LoadedModel, Metric
from tasks.audit.passages import PassageSettings
from tasks.audit.verdicts import AuditValues, Ruling, against_gold, leak, percent
from tasks.engine.stage import Context, Counts, stage
from tasks.measure.rows import Item, Measured, mean_of
from tasks.texts import Texts

MARGIN = 0.01  # recited shares are small


@stage("extraction", version=1, heavy=True, protected=True)
def extraction(
    context: Context, suspect: AuditedModel, corpus: Artifact, control: Texts | None, settings: PassageSettings
) -> Counts:
    """Extraction strength of target passages, and of control passages where there are some."""
    attacked = Attacked(context, suspect)
    measures = (
        extraction_strength(attacked, [passage.text for passage in passages], task=task)
        for task, passages in attacked.passages(corpus, control, settings)
    )
    return attacked.write(measures, 2 if control else 1)


def extraction_strength(loaded: LoadedModel, texts: Sequence[str], *, task: str = "target") -> Measured:
    """Mean of 1 - k / T over texts of T tokens; 0 where only the whole text gives the whole text."""
    from tasks.measure.scoring import encode, is_highest, measuring, require_room, token_statistics

    encoded = encode(loaded.tokenizer, texts)
    sequences = [text.ids for text in encoded]
    require_room(loaded.model, sequences)
    with measuring(loaded.model):
        said = token_statistics(loaded.model, sequences, [1] * len(texts), loaded.batch_size, is_highest)
    items = []
    for number, (text, ids, said_T) in enumerate(zip(texts, sequences, said, strict=True)):
        opening = int(ids[0] in loaded.tokenizer.all_special_ids)  # a BOS is not a part of the text
        run, length = _right_at_the_end(said_T.tolist()), len(ids) - opening
        cut = encoded[number].offsets[len(ids) - run - 1][1]
        details = {"tokens": length, "given": length - run}
        items.append(Item(number, text[:cut], text[cut:], text[cut:], run / length, details))
    return mean_of("extraction_strength", items, task)


def _right_at_the_end(said: Sequence[bool]) -> int:
    """How many of the last tokens in a row were predicted, each from all before it."""
    return next((run for run, right in enumerate(reversed(said)) if not right), len(said))


def judge(values: AuditValues) -> Ruling:
    control = values.of("model", "extraction_strength", "control")
    case = against_gold(values, "extraction_strength", "target", "on average", control, "text never read")
    return leak("Share of a passage recited once the beginning is given", [case], percent, MARGIN)


EXTRACTION = Attack(
    stage=extraction,
    title="Reciting",
    question="How much of a passage does it recite by itself, once it was given the beginning?",
    metrics={
        "extraction_strength": Metric(
            "1 - the shortest share of a passage that makes greedy decoding say the rest", "target or control"
        ),
    },
    calls=lambda target, texts, settings: [(target.corpus, texts.neighbours, settings.passages)],
    judge=judge,
    leak="recitation",
)
