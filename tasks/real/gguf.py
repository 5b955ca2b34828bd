"""A GGUF file as a Hugging Face directory: `python -m tasks.real.gguf FILE FOLDER`.

The numbers are those that the file holds, written out in float32; what was rounded stays so.
"""

import struct
import sys
from pathlib import Path
from typing import Any

from storage.errors import BadInput
from storage.files import open_as_folder, require_empty
from tasks.models import quiet_transformers


def write_model(weights: Path, folder: Path) -> int:
    """Model and tokenizer of a GGUF file, into a folder. Returns the number of parameters.

    Raises BadInput for what is no GGUF file of a causal language model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet_transformers()
    if not weights.is_file():
        raise BadInput(f"expected a GGUF file, found none at {weights}")
    where = {"gguf_file": weights.name}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(weights.parent, dtype=torch.float32, **where)
        tokenizer = AutoTokenizer.from_pretrained(weights.parent, **where)
    except ImportError as error:
        raise BadInput(
            "expected the package gguf to read the model, found none: pip install 'nepenthe[real]'"
        ) from error
    except (OSError, ValueError, struct.error) as error:  # the last of a file that is torn
        said = str(error).splitlines()[0]
        raise BadInput(f"expected a causal language model as GGUF in {weights}, found: {said}") from error
    # Dequantised as it is, it still counts as quantised, and such a model is not saved.
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized = None, False
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    open_as_folder(folder)
    return int(model.num_parameters())


def main(arguments: list[str]) -> int:
    """Exit code 2, after one sentence, for bad input."""
    try:
        if len(arguments) != 2:
            raise BadInput("expected a GGUF file and a folder: python -m tasks.real.gguf FILE FOLDER")
        weights, folder = map(Path, arguments)
        require_empty(folder)
        print(f"{write_model(weights, folder):,} parameters in {folder}")
    except BadInput as error:
        print(f"nepenthe: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
