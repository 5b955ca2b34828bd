"""blocks: documents tokenised whole, cut into blocks, and every block translated.

Original ids are exactly what the models read: every block begins with the special tokens that open a text, where the
tokenizer has any.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Matcher
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.files import Files
from storage.schemas import TABLES
from storage.settings import Seed, Settings
from storage.shards import join_shards, shard_writer
from storage.workspace import Workspace
from tasks.contents import BLOCKS, Spans, answers_of, blocks_of, dictionary_of, documents_of
from tasks.engine.stage import WHOLE, Context, Counts, stage
from tasks.method.tokens import Tokens, cut_blocks
from tasks.method.translation import Block, Encode, only_answers, translate_block
from tasks.models import load_tokenizer

CHARACTERS_A_SHARD = 1 << 22
"""Some seconds of one core: what a killed run loses at most. A document is never divided."""


class BlockSettings(Settings):
    """How the target corpus is cut and translated."""

    length: int = 512
    """Tokens a block."""
    seed: Seed = 0
    """Draws the translation of anchors that have several, one a block."""
    translate: bool = True
    """False leaves every anchor as it is and forbids nothing: reinforcement bootstrapping alone, for an ablation."""


def shards(workspace: Workspace, corpus: Artifact, **_: Any) -> int:
    """How many shards the corpus comes to, or a few more."""
    counts = workspace.record(corpus)["counts"]
    return int(min(counts["documents"], counts["characters"] // CHARACTERS_A_SHARD + 1))


@stage("blocks", version=2, heavy=True, shards=shards, protected=True)
def blocks(
    context: Context, corpus: Artifact, dictionary: Artifact, tokenizer: Files, settings: BlockSettings
) -> Counts:
    """Write the `blocks` shard: one memory-mapped Arrow file for the whole corpus, joined of shards of documents."""
    joined, documents = context.folder / BLOCKS, documents_of(context.path(corpus))
    stretches = {path_of(context, *stretch): stretch for stretch in stretches_of([len(text) for text in documents])}
    (number, parts), written = context.part, list(stretches)
    missing = [path for path in written[number::parts] if not path.exists()]
    if missing and not joined.exists():  # once they are joined the shards go
        answers = answers_of(context.path(corpus))
        translation = Translation(dictionary_of(context.path(dictionary)), load_tokenizer(tokenizer), settings)
        for path in missing:
            first, end = stretches[path]
            with shard_writer(path, TABLES["blocks"].schema) as write:
                for row in translation.rows(documents[first:end], answers[first:end], first):
                    write(row)
                    context.progress(row["document_id"], len(documents))
            context.checkpoint(path)
    if context.part != WHOLE:
        return {}
    if not joined.exists():
        join_shards(joined, written, "block_id")
    for path in written:
        path.unlink(missing_ok=True)
    counts = counts_of(blocks_of(context.folder))
    if settings.translate and not counts["occurrences"]:
        entries = dictionary_of(context.path(dictionary)).entries
        raise BadInput(
            f"expected anchors of the dictionary in the corpus, found none of its {len(entries)}: "
            "the dictionary belongs to another text, or its spelling differs"
        )
    return counts


def path_of(context: Context, first: int, end: int) -> Path:
    """Where the shard of the documents first..end-1 lies."""
    return context.folder / f"part-{first:08d}-{end:08d}.arrow"


def stretches_of(lengths: list[int]) -> Iterator[tuple[int, int]]:
    """(first, end) of the documents of each shard, from the characters of every document."""
    first = held = 0
    for document, length in enumerate(lengths):
        if held and held + length > CHARACTERS_A_SHARD:
            yield first, document
            first, held = document, 0
        held += length
    if first < len(lengths):
        yield first, len(lengths)


class Translation:
    """What translates a corpus block by block; a block depends on its own document alone."""

    def __init__(self, words: Dictionary, tokenizer: Any, settings: BlockSettings) -> None:
        self._words, self._tokenizer, self._settings = words, tokenizer, settings
        self._matcher, self._encode = Matcher(words), encoder(tokenizer)

    def rows(self, texts: list[str], answers: Sequence[Spans | None], first: int = 0) -> Iterator[dict[str, Any]]:
        """Rows of the `blocks` table of some documents, numbered from `first`; the blocks have no number yet."""
        for place, text, tokens in cut_blocks(self._tokenizer, texts, self._settings.length):
            block = self._translated(tokens, text, first + place)
            if (spans := answers[place]) is not None:
                block = only_answers(block, tokens, spans)
            yield row(block, first + place, self._words)

    def _translated(self, tokens: Tokens, text: str, document: int) -> Block:
        first, end = tokens.edges[0], tokens.edges[-1]
        matches = self._matcher.find(text, first, end) if self._settings.translate else []
        draw = partial(drawn, self._words, f"{self._settings.seed}:{document}:{first}")
        return translate_block(tokens, text, matches, draw, self._encode)


def counts_of(table: pa.Table) -> Counts:
    """What the `blocks` table holds, read a batch at a time."""
    reasons, used = Counter[str | None](), Counter[str]()
    for batch in table.to_batches():
        for counter, column in ((reasons, "reasons"), (used, "anchors")):
            for value in pc.value_counts(batch.column(column).flatten()).to_pylist():
                counter[value["values"]] += value["counts"]
    return {
        "blocks": table.num_rows,
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


def drawn(dictionary: Dictionary, block: str, entry: int) -> str:
    """One translation an anchor a block, by seed and place: it depends on nothing that was drawn before."""
    anchor, translations = dictionary.entries[entry].anchor, dictionary.entries[entry].translations
    digest = hashlib.sha256(f"{block}:{anchor}".encode()).digest()
    return translations[int.from_bytes(digest[:8]) % len(translations)]


def row(block: Block, document: int, dictionary: Dictionary) -> dict[str, Any]:
    return {
        "block_id": 0,
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
