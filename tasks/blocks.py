"""blocks: documents tokenised whole, cut into blocks, and every block translated.

Original ids are exactly what the models read. A document's special tokens stand where the tokenizer puts them (once a
document), so only its first block begins with one.
"""

import hashlib
from collections import Counter
from functools import lru_cache, partial
from typing import Any

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Matcher
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.files import Files
from storage.settings import Seed, Settings
from storage.shards import shard_writer
from tasks.contents import BLOCKS, answers_of, dictionary_of, documents_of
from tasks.engine.stage import Context, Counts, stage
from tasks.method.tokens import Tokens, cut_blocks
from tasks.method.translation import Block, Encode, only_answers, translate_block
from tasks.models import load_tokenizer


class BlockSettings(Settings):
    """How the target corpus is cut and translated."""

    length: int = 512
    """Tokens a block."""
    seed: Seed = 0
    """Draws the translation of anchors that have several, one a block."""
    translate: bool = True
    """False leaves every anchor as it is and forbids nothing: reinforcement bootstrapping alone, for an ablation."""


@stage("blocks", version=1, protected=True)
def blocks(
    context: Context, corpus: Artifact, dictionary: Artifact, tokenizer: Files, settings: BlockSettings
) -> Counts:
    """Write the `blocks` shard: one memory-mapped Arrow file for the whole corpus."""
    words = dictionary_of(context.path(dictionary))
    documents, answers = documents_of(context.path(corpus)), answers_of(context.path(corpus))
    tokens = load_tokenizer(tokenizer)
    matcher, encode = Matcher(words), encoder(tokens)
    reasons: Counter[str | None] = Counter()
    used: Counter[int] = Counter()
    number = 0
    with shard_writer(context.folder / BLOCKS) as write:
        for document, text, block in cut_blocks(tokens, documents, settings.length):
            matches = matcher.find(text, block.edges[0], block.edges[-1]) if settings.translate else []
            translated = translate_block(block, text, matches, partial(drawn, words, settings.seed, number), encode)
            if (spans := answers[document]) is not None:
                translated = only_answers(translated, block, spans)
            write(row(translated, number, document, words))
            reasons.update(translated.reasons)
            used.update(occurrence.entry for occurrence in translated.occurrences)
            number += 1
            if number % 100 == 0:
                context.progress(document, len(documents))
    if settings.translate and not used:
        raise BadInput(
            f"expected anchors of the dictionary in the corpus, found none of its {len(words.entries)}: "
            "the dictionary belongs to another text, or its spelling differs"
        )
    return {
        "blocks": number,
        "positions": reasons.total(),
        "training": reasons.pop(None, 0),
        "anchors": len(used),
        "occurrences": used.total(),
        "reasons": {str(reason): count for reason, count in sorted(reasons.items(), key=str)},
    }


def encoder(tokenizer: Any) -> Encode:
    """`encode(left, text)`: text as the tokenizer writes it in the middle of a document, right after `left`."""

    @lru_cache(maxsize=100_000)
    def encode(left: str, text: str) -> Tokens:
        # Where a piece spans both sides, text is written as if after a line break, which joins with nothing.
        for before in (left, "\n"):
            encoding = tokenizer(before + text, add_special_tokens=False, return_offsets_mapping=True)
            after = Tokens.from_offsets(encoding["input_ids"], encoding["offset_mapping"]).after(len(before))
            if after is not None:
                return after
        encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return Tokens.from_offsets(encoding["input_ids"], encoding["offset_mapping"])

    return encode


def drawn(dictionary: Dictionary, seed: int, block: int, entry: int) -> str:
    """One translation an anchor a block, by seed: it depends on nothing that was drawn before."""
    anchor, translations = dictionary.entries[entry].anchor, dictionary.entries[entry].translations
    digest = hashlib.sha256(f"{seed}:{block}:{anchor}".encode()).digest()
    return translations[int.from_bytes(digest[:8]) % len(translations)]


def row(block: Block, number: int, document: int, dictionary: Dictionary) -> dict[str, Any]:
    return {
        "block_id": number,
        "document_id": document,
        "original_ids": block.original_ids,
        "translated_ids": block.translated_ids,
        "mapping": block.mapping,
        "reasons": block.reasons,
        "forbidden_ids": block.forbidden_ids,
        "forbidden_from": block.forbidden_from,
        "anchors": [dictionary.entries[occurrence.entry].anchor for occurrence in block.occurrences],
        "anchor_positions": [occurrence.position for occurrence in block.occurrences],
        "translations": [occurrence.translation for occurrence in block.occurrences],
    }
