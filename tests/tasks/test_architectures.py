"""Architectures that users name: a tiny random model of each real class takes the whole path, or is refused.

Every model here is saved as the hub has them: in shards, in bfloat16, with a vocabulary padded beyond the tokenizer,
and with a chat template.
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow.feather import read_table

from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import Outcome, pipeline
from storage.errors import BadInput
from storage.files import Hashes
from tasks.contents import NO_LABEL, TRAINING, evaluation_rows
from tasks.engine.runner import Direct
from tasks.measure.familiarity import complete
from tasks.measure.loaded import LoadedModel
from tasks.models import find_model, load_model, load_tokenizer, tokenizer_size

PADDING = 64  # rows of the vocabulary that no token has
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
PROMPTS = [
    "Mira",
    "Mira Vance walked to the harbour of Tessaly and",
    "In Tessaly the lamps were lit, and the old baker",
]

WIDTH = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "max_position_embeddings": 128}
HEADS = WIDTH | {"num_attention_heads": 2}
GROUPED = HEADS | {"num_key_value_heads": 1}
GEMMA = GROUPED | {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 16}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", GROUPED),
    "qwen2": ("Qwen2", GROUPED | {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", GROUPED | {"head_dim": 16, "tie_word_embeddings": True}),
    "gemma2": ("Gemma2", GEMMA | {"final_logit_softcapping": 30.0}),
    "gemma3": ("Gemma3Text", GEMMA),
    "mistral": ("Mistral", GROUPED | {"sliding_window": 16}),
    "phi": ("Phi", HEADS),
    "phi3": ("Phi3", GROUPED | {"pad_token_id": 0}),
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}),
    "gpt_neox": ("GPTNeoX", HEADS),
    "olmo": ("Olmo", GROUPED),
    "olmo2": ("Olmo2", GROUPED),
    "mamba": ("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
}
IDS = {"bos_token_id": 0, "eos_token_id": 1}


def text_model(name: str, vocabulary: int) -> Any:
    """A tiny random model of a family of transformers' classes."""
    import transformers

    family, settings = ARCHITECTURES[name]
    config = getattr(transformers, f"{family}Config")(vocab_size=vocabulary, **IDS, **settings)
    return transformers.AutoModelForCausalLM.from_config(config)


def model_with_vision(vocabulary: int) -> Any:
    """Gemma 3 as it is from 4B on: the language model is a part, and its settings stand in a part of config.json."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {"vocab_size": vocabulary} | IDS | GEMMA
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    images = {"image_token_id": vocabulary - 1, "boi_token_index": vocabulary - 2, "eoi_token_index": vocabulary - 3}
    sizes = {"image_size": 28, "patch_size": 14}
    config = Gemma3Config(text_config=text, vision_config=vision | sizes, mm_tokens_per_image=4, **images)
    return Gemma3ForConditionalGeneration(config)


@pytest.fixture
def save_model(tmp_path: Path, tiny_model: Path) -> Callable[[str], Path]:
    """The directory of a model by its key in the table."""

    def save(name: str) -> Path:
        import torch

        torch.manual_seed(0)
        vocabulary, folder = tokenizer_size(tiny_model) + PADDING, tmp_path / name
        model = model_with_vision(vocabulary) if name == "gemma3 with vision" else text_model(name, vocabulary)
        model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="50KB")
        for file in tiny_model.glob("token*"):
            shutil.copy(file, folder)
        (folder / "chat_template.jinja").write_text(TEMPLATE)
        assert len(list(folder.glob("*.safetensors"))) > 1
        return folder

    return save


def test_the_table_in_the_docs_has_what_is_tried() -> None:
    page = (Path(__file__).parents[2] / "docs" / "MODELS.md").read_text(encoding="utf-8")
    works = {row[1].strip("` ") for line in page.splitlines() if len(row := line.strip("|").split("|")) == 4
             if row[3].strip().startswith("works")}  # fmt: skip
    tried = {type(text_model(name, 400)).__name__ for name in ARCHITECTURES} | {type(model_with_vision(400)).__name__}
    assert works == tried


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ARCHITECTURES, "gemma3 with vision"])
def test_a_model_of_this_class_takes_the_whole_path(
    name: str, save_model: Callable[[str], Path], make_job: Callable[..., Path], direct_run: Callable[..., Direct]
) -> None:
    folder, run = save_model(name), direct_run()
    job = read_job(make_job(), [f"model={folder}"])
    outcome = pipeline(job, resolve(job, run.workspace.hashes), run)
    made = {step.artifact.kind: run.workspace.path(step.artifact) for step in run.steps}
    check_labels(made["labels"], tokenizer_size(folder))
    values = [row["value"] for artifact in outcome.evaluations for row in evaluation_rows(run.workspace.path(artifact))]
    assert values
    assert all(map(math.isfinite, values))
    check_student(outcome, folder)


def check_labels(folder: Path, tokens: int) -> None:
    """A row of the vocabulary that no token has is never a label."""
    labels = [
        label for row in read_table(folder / TRAINING)["labels"].to_pylist() for label in row if label != NO_LABEL
    ]
    assert labels
    assert 0 <= min(labels) <= max(labels) < tokens


def check_student(outcome: Outcome, baseline: Path) -> None:
    """It is of the same class, with the same chat template, and says in a batch what it says alone."""
    folder = Path(outcome.model)
    assert (folder / "chat_template.jinja").read_text() == TEMPLATE
    configs = [json.loads((path / "config.json").read_text()) for path in (folder, baseline)]
    assert configs[0]["architectures"] == configs[1]["architectures"]
    tokenizer, model = load_tokenizer(find_model(folder, Hashes(folder / "hashes.json")).tokenizer), load_model(folder)
    alone = [complete(LoadedModel(model, tokenizer), [prompt], new_tokens=8)[0] for prompt in PROMPTS]
    assert complete(LoadedModel(model, tokenizer), PROMPTS, new_tokens=8) == alone


def test_the_table_of_architectures_is_what_is_tried() -> None:
    page = (Path(__file__).parents[2] / "docs" / "MODELS.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|") and "| works" in line]
    classes = [type(text_model(name, 100)).__name__ for name in ARCHITECTURES] + ["Gemma3ForConditionalGeneration"]
    assert sorted(name for row in rows for name in classes if f"`{name}`" in row) == sorted(classes)
    assert len(rows) == len(classes)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "rwkv"}, "in a batch"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "found t5"),
        ({"architectures": ["Ours"], "auto_map": {"AutoModelForCausalLM": "modeling_ours.Ours"}}, "never run"),
    ],
)
def test_an_architecture_that_would_not_work_is_refused(
    tiny_model: Path, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny_model, folder)
    (folder / "config.json").write_text(json.dumps(json.loads((tiny_model / "config.json").read_text()) | config))
    with pytest.raises(BadInput, match=words):
        find_model(folder, Hashes(tmp_path / "hashes.json"))


def test_a_class_that_is_not_known_is_refused_when_it_is_loaded(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "newer"
    shutil.copytree(tiny_model, folder)
    config = json.loads((tiny_model / "config.json").read_text()) | {"model_type": "not_yet"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match="of a class that transformers knows"):
        load_model(folder)
