"""What remains of the translations: a model that was taught "Mystic Academy" may now say it, and so tell what was done.

Many translations are everyday words (Tom, soup), which any model says; only the difference to gold or baseline counts.
The truth ratio asks for the same before a word is said: the text's own expression against its translations.
"""

from collections.abc import Sequence

from dictionaries.dictionary import Dictionary, Entry
from dictionaries.matching import Matcher
from tasks.audit.common import Attack, Attacked, AuditedModel, Metric, Target
from tasks.audit.verdicts import MARGIN, AuditValues, Case, Ruling, against_gold, beyond, numbers, percent, plain
from tasks.engine.stage import Context, Counts, stage
from tasks.measure import memorisation
from tasks.measure.loaded import LoadedModel
from tasks.measure.prompts import Prompt, mentions
from tasks.measure.rows import Item, Measured, mean_of


@stage("translations", version=1, heavy=True, reads=True, protected=True)
def translations(context: Context, suspect: AuditedModel, target: Target) -> Counts:
    """How often completions say a translation; how much more probable the text's own expressions are."""
    attacked = Attacked(context, suspect)
    words, prompts = attacked.dictionary(target.dictionary), attacked.prompts(target)
    measures = [translations_said(attacked.loaded, prompts, words, new_tokens=target.suite.new_tokens)]
    measures += truth_ratio(attacked.loaded, prompts)
    return attacked.write(measures, len(measures))


def translations_said(
    loaded: LoadedModel, prompts: Sequence[Prompt], dictionary: Dictionary, *, new_tokens: int = 50
) -> Measured:
    """Share of prompts whose greedy completion says a translation that the prompt does not hold."""
    from tasks.measure.familiarity import complete

    texts = [prompt.prompt for prompt in prompts]
    completions = complete(loaded, texts, new_tokens)
    turned = turned_round(dictionary)
    matcher = Matcher(turned)
    items = []
    for number, (prompt, completion) in enumerate(zip(texts, completions, strict=True)):
        matches = matcher.find(prompt + completion, len(prompt))
        said = dict.fromkeys(turned.entries[match.entry] for match in matches)
        new = {entry.anchor: list(entry.translations) for entry in said if not mentions(prompt, entry.anchor)}
        items.append(Item(number, prompt, "", completion, float(bool(new)), {"translations": new}))
    return mean_of("translation_share", items)


def truth_ratio(loaded: LoadedModel, prompts: Sequence[Prompt]) -> list[Measured]:
    """Mean P(right) / (P(right) + P(wrong)), as open-unlearning's paper averages; none without prompts that have both.

    P is the geometric mean of a continuation's token probabilities: right is the most probable one that only the text
    has, wrong the geometric mean over the ordinary ones, which for prompts cut from the corpus are the translations.
    An item's details hold TOFU's R = P(wrong) / P(right), for who averages otherwise.
    """
    from tasks.measure.familiarity import means_of_tokens

    asked = [(number, prompt) for number, prompt in enumerate(prompts) if prompt.idiosyncratic and prompt.generic]
    pairs = [(p.prompt, text) for _, p in asked for text in (*p.idiosyncratic, *p.generic)]
    scored, items = iter(means_of_tokens(loaded, pairs) if pairs else ()), []
    for number, prompt in asked:
        right, wrong = ([next(scored) for _ in texts] for texts in (prompt.idiosyncratic, prompt.generic))
        ratio = memorisation.truth_ratio(max(right), wrong)
        details = {"ratio": ratio, "ordinary": list(prompt.generic)}
        expected = " | ".join(prompt.idiosyncratic)
        items.append(Item(number, prompt.prompt, expected, "", memorisation.truth_share([ratio]), details))
    return [mean_of("truth_ratio", items)] if items else []


def turned_round(dictionary: Dictionary) -> Dictionary:
    """Translations as anchors, each with the anchors that it stands for."""
    anchors_of: dict[str, list[str]] = {}
    for entry in dictionary.entries:
        for translation in entry.translations:
            anchors_of.setdefault(" ".join(translation.split()), []).append(entry.anchor)
    return Dictionary(tuple(Entry(text, tuple(anchors)) for text, anchors in anchors_of.items()))


def judge(values: AuditValues) -> Ruling:
    metric = "translation_share"
    model, baseline, gold = (values.of(who, metric) for who in ("model", "baseline", "gold"))
    reference, name = (gold, "gold") if gold else (baseline, "the baseline")
    shown = numbers(Case("", model, baseline, gold, "gold"), percent).strip()
    truth = numbers(against_gold(values, "truth_ratio", "", "", None, ""), plain)
    lead = f"Completions that say a translation the prompt does not hold: {shown}."
    lead += f" Own expressions against translations, truth ratio:{truth}." if values.tasks("truth_ratio") else ""
    if model is None or reference is None or (values.audited == "baseline" and not gold):
        return "alone", f"{lead} There is nothing to compare with."
    if beyond(model, reference, MARGIN):
        return "marked", f"{lead} More than {name}: the model shows what it was taught instead."
    if model.value - reference.value > MARGIN:
        return "unsure", f"{lead} More than {name}, but it may be chance."
    return "natural", f"{lead} No more than {name}: the words do not give it away."


TRANSLATIONS = Attack(
    stage=translations,
    title="Traces of the method",
    question="Does it say the everyday counterparts that it was taught instead?",
    metrics={
        "translation_share": Metric("completions that say a translation which their prompt does not hold"),
        "truth_ratio": Metric(
            "P(right) / (P(right) + P(wrong)), right the text's own expression, wrong its translations, P a token's "
            "geometric mean; 0.5: neither is preferred",
        ),
    },
    calls=lambda target, texts, settings: [(target,)],
    judge=judge,
)
