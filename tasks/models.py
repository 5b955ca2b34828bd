"""Models and tokenizers: Hugging Face directories, or names on the hub, known by their bytes.

The tokenizer has a fingerprint of its own besides the model's: a stage that only tokenises (blocks) is not redone
because weights changed. Nothing here runs code that comes with a model.
"""

import json
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from storage.artifact import Artifact
from storage.errors import BadInput
from storage.files import Files, Hashes
from storage.workspace import Workspace
from tasks.engine.stage import models_are_divided, pick_device
from tasks.hub import TOKENIZER_FILES, cached_folder, model_folder

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # a forked data loader would warn, and two cores gain nothing

BFLOAT16_FRACTION, EXPONENT_BIAS = 7, 127
SAMPLED = 1 << 14  # weights of a matrix
REFUSED = {"rwkv": "transformers' class says other things in a batch than alone"}
USUAL = {"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_positions": "max_position_embeddings"}
"""What GPT-2 and its like have in config.json, and what most others call it."""


@dataclass(frozen=True)
class Model:
    """A causal language model's directory. `fingerprint` stands for config, weights and tokenizer."""

    path: str
    fingerprint: str
    tokenizer: Files
    """The tokenizer's files, the first of which is tokenizer.json."""
    artifact: Artifact | None = None
    """What the model is a part of, where a stage makes it."""
    source: str = ""
    """Repository and commit on the hub, `owner/name@commit`, of one that was named so."""

    def changed(self, hashes: Hashes) -> bool:
        """Whether a user's directory holds another model now. Raises OSError where it is gone."""
        own = self.artifact is None
        return own and hashes.of_all(model_files(Path(self.path), self.tokenizer)) != self.fingerprint


def find_model(name: str | Path, hashes: Hashes) -> Model:
    """The model in a user's directory or on the hub. Raises BadInput if it is not one that can be loaded safely."""
    folder, source = model_folder(str(name))
    if (folder / "adapter_config.json").is_file():  # transformers would load it, too
        raise BadInput(
            f"expected a whole model, found an adapter (adapter_config.json) in {folder}: save the two merged "
            "(peft: merge_and_unload, save_pretrained), or take the adapter's files away"
        )
    if not (folder / "config.json").is_file():
        weights = folder if folder.suffix == ".gguf" else next(folder.glob("*.gguf"), None)
        convert = "convert it with python -m tasks.real.gguf FILE FOLDER"
        found = f"{weights}: {convert}" if weights else f"no config.json in {folder}"
        raise BadInput(f"expected a Hugging Face model directory, or owner/name on the hub, found {found}")
    _refuse_architecture(folder)
    _refuse_weights(folder)
    tokenizer = tokenizer_files(folder, hashes)
    fingerprint = hashes.of_all(model_files(folder, tokenizer))
    model = Model(str(folder), fingerprint, tokenizer, source=source)
    tokens = tokenizer_size(folder)
    if tokens > vocabulary_size(model):
        raise BadInput(
            f"expected a tokenizer of at most {vocabulary_size(model)} tokens for the model in {folder}, "
            f"found {tokens}: model and tokenizer do not belong together"
        )
    return model


def _refuse_architecture(folder: Path) -> None:
    """Raise BadInput for what config.json shows to be no causal language model that can be worked with.

    Torch is not loaded for it; a class that transformers does not know is refused by `load_model`.
    """
    config = _json(folder / "config.json")
    kind, why = config.get("model_type"), ""
    if kind in REFUSED:
        why = REFUSED[kind]
    elif config.get("is_encoder_decoder"):
        why = "an encoder and a decoder"
    elif "auto_map" in config:
        import transformers

        if not set(config.get("architectures") or ()) & set(dir(transformers)):
            why = "its class comes with the model, and such code is never run"
    if why:
        raise BadInput(f"expected a causal language model that can be worked with in {folder}, found {kind}: {why}")


def _refuse_weights(folder: Path) -> None:
    """Raise BadInput unless all weights are there as safetensors."""
    weights = {path.name for path in folder.glob("*.safetensors")}
    if not weights:
        raise BadInput(
            f"expected weights as *.safetensors in {folder}, found none: convert the model, if you trust who made it, "
            "with python -c \"import transformers as t; [kind.from_pretrained('MODEL').save_pretrained('FOLDER') "
            'for kind in (t.AutoModelForCausalLM, t.AutoTokenizer)]"'
        )
    for _ in _headers(folder):
        pass  # half a download is found here
    index = folder / "model.safetensors.index.json"
    if index.is_file() and (missing := sorted(set(_json(index).get("weight_map", {}).values()) - weights)):
        raise BadInput(f"expected the weights that {index} lists, found no {', '.join(missing)}: get them all again")


def tokenizer_files(folder: Path, hashes: Hashes) -> Files:
    """The tokenizer's files, tokenizer.json first. Raises BadInput where there is no fast tokenizer."""
    if not (folder / "tokenizer.json").is_file():
        raise BadInput(
            f"expected a fast tokenizer (tokenizer.json) in {folder}, found none: character offsets, by which anchors "
            "are translated, need it; save one with AutoTokenizer.from_pretrained(..., use_fast=True).save_pretrained"
        )
    files = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    for file in files:
        if file.suffix == ".json":
            _json(file)
    return hashes.files(files)


def model_by_fingerprint(fingerprint: str, hashes: Hashes, source: str = "") -> Model | None:
    """A model that was read in this workspace; None where its folder is not at hand any more.

    `source`: its `owner/name@commit`; the hub's cache keeps files under names of its own, by which none is recognised.
    """
    cached = cached_folder(source)
    for folder in (*([cached] if cached else []), *hashes.folders_with("config.json")):
        with suppress(BadInput):
            model = find_model(folder, hashes)
            if model.fingerprint == fingerprint:
                return model
    return None


def hashes_of_model(model: Model, hashes: Hashes) -> dict[str, str]:
    """SHA-256 by file of a model, in the order of its fingerprint."""
    files = model_files(Path(model.path), model.tokenizer)
    return dict(zip((file.name for file in files), hashes.of_each(files), strict=True))


def model_files(folder: Path, tokenizer: Files) -> list[Path]:
    """The files that a model's fingerprint stands for: config, weights, tokenizer."""
    return [folder / "config.json", *sorted(folder.glob("*.safetensors")), *map(Path, tokenizer.paths)]


def made_model(workspace: Workspace, artifact: Artifact, part: str, tokenizer: Files) -> Model:
    """A model that a stage makes, known by its artifact: it need not exist yet."""
    return Model(str(workspace.model_path(artifact, part)), f"{artifact.fingerprint}/{part}", tokenizer, artifact)


def config_of(path: str | Path) -> dict[str, Any]:
    """The model's config.json by the names that most have, with what it says of its language model on top.

    Raises BadInput if it is none.
    """
    config = _json(Path(path) / "config.json")
    config |= config.get("text_config") or {}
    return {USUAL[name]: value for name, value in config.items() if name in USUAL} | config


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"expected JSON in {path}, found {error}") from error
    if not isinstance(read, dict):
        raise BadInput(f"expected a JSON object in {path}, found {type(read).__name__}")
    return read


def served_in(folder: str | Path) -> str:
    """bfloat16 where config.json says that the weights are; everything else is computed in float32."""
    config = config_of(folder)
    return "bfloat16" if "bfloat16" in (config.get("dtype"), config.get("torch_dtype")) else "float32"


def vocabulary_size(model: Model) -> int:
    """Rows of the output projection, V."""
    size = config_of(model.path).get("vocab_size")
    if not isinstance(size, int):
        raise BadInput(f"expected vocab_size in {model.path}/config.json, found none: is it a causal language model?")
    return size


def context_length(model: Model) -> int | None:
    """Longest sequence in tokens that the model was made for, where its config says so."""
    length = config_of(model.path).get("max_position_embeddings")
    return int(length) if length else None


def parameters_of(folder: str | Path) -> int:
    """Numbers in all safetensors files of a directory, from their headers."""
    return sum(prod(tensor["shape"]) for _, _, tensors in _headers(folder) for tensor in tensors)


def half_step_of_bfloat16(folder: str | Path) -> float:
    """Half the distance between neighbours in bfloat16 at the median weight of a directory's bfloat16 matrices.

    From the first weights of each; 0 where it has none. A weight that moves by less is rounded back to where it was.
    """
    exponents = [(np.frombuffer(words, "<u2") >> BFLOAT16_FRACTION) & 0xFF for words in _bfloat16_samples(folder)]
    known = np.concatenate([np.empty(0, np.uint16), *exponents])
    known = known[known > 0]  # zero has none
    if not known.size:
        return 0.0
    return float(2.0 ** (float(np.median(known)) - EXPONENT_BIAS - BFLOAT16_FRACTION - 1))


def _bfloat16_samples(folder: str | Path) -> Iterator[bytes]:
    for file, data, tensors in _headers(folder):
        for tensor in tensors:
            if tensor["dtype"] == "BF16" and len(tensor["shape"]) > 1:
                first, end = tensor["data_offsets"]
                file.seek(data + first)
                yield file.read(min(end - first, 2 * SAMPLED))


def _headers(folder: str | Path) -> Iterator[tuple[BinaryIO, int, list[dict[str, Any]]]]:
    """(file, where its data begins, {dtype, shape, data_offsets} of each tensor) of every safetensors file.

    A header is 8 bytes of length, then JSON. Raises BadInput for a file that is none, or not whole.
    """
    for path in Path(folder).glob("*.safetensors"):
        with path.open("rb") as file:
            size = path.stat().st_size
            try:
                length = struct.unpack("<Q", file.read(8))[0]
                header = json.loads(file.read(min(length, size)))
                tensors = [tensor for name, tensor in header.items() if name != "__metadata__"]
                end = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors), default=0)
            except (struct.error, ValueError, AttributeError, LookupError, TypeError):
                end = -1
            if end != size:
                whole = f"the {end:,} bytes of which its header speaks" if end > 0 else "a safetensors file"
                raise BadInput(f"expected {whole} at {path}, found {size:,} bytes that are not: get the file again")
            yield file, 8 + length, tensors


def model_facts(folder: Path) -> dict[str, Any]:
    """Architecture and size of a Hugging Face directory, without loading it."""
    config = config_of(folder)
    return {
        "architecture": (config.get("architectures") or [config.get("model_type", "unknown")])[0],
        "parameters": parameters_of(folder),
        "layers": config.get("num_hidden_layers"),
        "vocabulary": config.get("vocab_size"),
        "context": config.get("max_position_embeddings"),
    }


def tokenizer_size(folder: Path) -> int:
    """One more than the highest token id, special tokens included."""
    text = _json(folder / "tokenizer.json")
    if "vocab" not in (text.get("model") or {}):
        raise BadInput(f"expected a tokenizer with a vocabulary in {folder}/tokenizer.json, found none: save it again")
    vocabulary = text["model"]["vocab"]
    ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
    added = (token["id"] for token in text.get("added_tokens", ()))
    return max((*ids, *added), default=-1) + 1


def same_vocabulary(first: Model, second: Model) -> None:
    """Raise BadInput unless both models give the same meaning to every token id."""
    sizes = vocabulary_size(first), vocabulary_size(second)
    if sizes[0] != sizes[1]:
        raise BadInput(
            f"expected models with one vocabulary, found {sizes[0]} tokens in {first.path} "
            f"and {sizes[1]} in {second.path}"
        )
    same = first.tokenizer.fingerprint == second.tokenizer.fingerprint
    if not same and _token_ids(first) != _token_ids(second):
        raise BadInput(f"expected models with one vocabulary, found other tokens in {first.path} than in {second.path}")


def _token_ids(model: Model) -> object:
    text = json.loads(Path(model.tokenizer.paths[0]).read_text(encoding="utf-8"))
    return text["model"]["vocab"], [(token["id"], token["content"]) for token in text.get("added_tokens", ())]


def load_tokenizer(tokenizer: Files) -> Any:
    """The fast tokenizer. Raises BadInput if transformers has only a slow one for it."""
    from transformers import AutoTokenizer

    quiet_transformers()
    loaded = AutoTokenizer.from_pretrained(str(Path(tokenizer.paths[0]).parent))
    if not loaded.is_fast:
        raise BadInput(f"expected a fast tokenizer in {Path(tokenizer.paths[0]).parent}, found {type(loaded).__name__}")
    loaded.model_max_length = int(1e9)  # whole documents are tokenised; the length of blocks is ours to keep
    return loaded


def divides(path: str | Path, ranks: int) -> bool:
    """Whether transformers can divide the model's weights over so many ranks: it knows how, and the heads come out."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(path)).get_text_config()
    except ValueError:  # no class that it knows, which is refused when the model is loaded
        return False
    if not getattr(config, "base_model_tp_plan", None):
        return False
    heads = config.num_attention_heads
    return not (heads % ranks or (getattr(config, "num_key_value_heads", None) or heads) % ranks)


def _division(path: str | Path) -> dict[str, Any]:
    """How from_pretrained divides the model over the ranks of which this process is one; else it is had whole."""
    if not models_are_divided():
        return {}
    import torch.distributed as dist
    from transformers.distributed import DistributedConfig

    ranks = dist.get_world_size()
    return {"distributed_config": DistributedConfig(tp_size=ranks)} if divides(path, ranks) else {}


def quiet_transformers() -> None:
    """No bars and no remarks of the library's between our lines."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load_model(path: str | Path, device: str = "cpu", dtype: str = "float32") -> Any:
    """The model in evaluation mode, weights in `dtype`, from safetensors only."""
    import torch
    from transformers import AutoModelForCausalLM

    quiet_transformers()
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            str(path),
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # refused below, in our words
            output_loading_info=True,
            **_division(path),
        )
    except ValueError as error:
        said = str(error).partition("\n")[0]
        raise BadInput(
            f"expected a causal language model of a class that transformers knows in {path}, found: {said}"
        ) from error
    if drawn := sorted((*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"]))):
        raise BadInput(
            f"expected all weights of the model that {path}/config.json describes, found none that fit for "
            f"{len(drawn)} of them ({drawn[0]}, ...): config and weights do not belong together"
        )
    return (model if model.tp_size else model.to(pick_device(device))).eval()
