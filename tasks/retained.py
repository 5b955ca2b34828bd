"""retained: generic text in blocks, which a student goes on predicting as it stands while it forgets the target.

No part of the paper's method, and off by default: the student's batches then hold both (student.retain).
"""

from typing import Literal

from pydantic import model_validator

from storage.errors import BadInput
from storage.files import Files
from storage.settings import Settings
from tasks.contents import RETAINED, write_examples
from tasks.engine.stage import Context, Counts, stage
from tasks.method.tokens import cut_blocks
from tasks.models import load_tokenizer
from tasks.texts import read_texts
from tasks.texts.records import normalise


class RetainSettings(Settings):
    """Generic text to keep: of the kind that the model shall stay good at, and without anything of the target."""

    paths: tuple[str, ...] = ()
    """Files or folders, as in corpus.paths; never those of evaluation.heldout, which no model may be trained on."""
    text_column: str = "text"
    """Column (jsonl: key) that holds the text."""
    labels: Literal["text", "baseline"] = "text"
    """What a student learns there: the text's own tokens, or what the baseline predicts, which costs a pass
    and holds it closer to where it was."""

    @model_validator(mode="after")
    def _of_something(self) -> "RetainSettings":
        if self.labels == "baseline" and not self.paths:
            raise ValueError('expected paths, text to retain, with labels "baseline", found none')
        return self


@stage("retained", version=2)
def retained(context: Context, files: Files, text_column: str, tokenizer: Files, length: int) -> Counts:
    """Write retained.arrow: blocks of `length` tokens, each position labelled with the text's own next token."""
    loaded = load_tokenizer(tokenizer)
    texts = [normalise(text) for text in read_texts(files, text_column, loaded) if text.strip()]
    blocks = cut_blocks(loaded, texts, length)
    count, tokens = write_examples(
        context.folder / RETAINED, ((block.ids, block.within(None)) for _, _, block in blocks)
    )
    if count == 0:
        raise BadInput(f"retain.paths: expected texts of at least two tokens in {', '.join(files.paths)}, found none")
    return {"texts": len(texts), "blocks": count, "tokens": tokens}
