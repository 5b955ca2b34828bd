"""What the tests share: a tiny model, a small target corpus, a job on both, and a run that needs no Prefect.

Everything is made here in seconds; real material is used only where it lies beside the checkout.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    DO_NOT_TRACK="1",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    TOKENIZERS_PARALLELISM="false",
)

from storage.opening import open_workspace
from tasks.engine.console import Progress
from tasks.engine.runner import Direct
from tasks.engine.stage import Placement

SENTENCES = (
    "Mira Vance walked to the harbour of Tessaly and asked the ferryman for the silver oar.",
    "The ferryman knew Mira well, for she had saved his boat from the Grimwater.",
    '"Nobody crosses the Grimwater at night," he said, but Mira Vance only laughed.',
    "In Tessaly the lamps were lit, and the old baker closed his door.",
    "She thought of Orrin, who had gone to Tessaly before her and never came back.",
)
DICTIONARY = {
    "Mira Vance": "Anna Miller",
    "Mira": ["Anna", "Clara"],
    "Tessaly": "Newport",
    "Grimwater": "Long Lake",
    "Orrin": "Peter",
}

TEXT = """The owl flew over Castle Marrow while Ottoline Vex counted the seven keys of the tower.
"Where is Tamsin?" asked Ottoline Vex. Tamsin Reed was at Castle Marrow, playing spindleball with the owl.
One day a little girl went to the park with her mother. She saw a big red ball and was very happy. The ball
was in the tree, so the girl asked the owl for help. The end of the story is that they all went home."""


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes never name a test: a compressed file holds the second in which it was made, and every process of a run must
    collect the same names."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with many slow tests come first: what the processes of a run take last is short, and they end together."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def text() -> str:
    """A few sentences with anchors, long enough for passages of 32 tokens."""
    return TEXT


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Byte-level BPE of 400 tokens that puts BOS in front and EOS behind."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([TEXT], trainer)
    ends = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    inner.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), ends])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="session")
def model(tokenizer: Any) -> Any:
    """A random Llama that reads 128 tokens of it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=1,
        initializer_range=0.3,  # so that some tokens are much likelier than others
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face directory: two layers of width 32, random weights, byte-level BPE of 400."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tasks.demo.pretrain import train_tokenizer

    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = train_tokenizer([" ".join(SENTENCES)], vocab_size=400)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 3,  # padding rows that must never be a label
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path, tiny_model: Path) -> Path:
    """The tiny model with other weights."""
    import torch

    from tasks.models import load_model

    folder = shutil.copytree(tiny_model, tmp_path / "elsewhere")
    model = load_model(tiny_model)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def write_job(tiny_model: Path) -> Callable[..., Path]:
    """A job file beside its corpus and dictionary, small enough to run in a second; `extra` adds TOML."""

    def write(folder: Path, documents: int = 6, dictionary: dict[str, Any] | None = None, extra: str = "") -> Path:
        corpus = folder / "corpus"
        corpus.mkdir(exist_ok=True)
        for number in range(documents):
            turned = SENTENCES[number % 5 :] + SENTENCES[: number % 5]
            (corpus / f"{number}.txt").write_text("\n".join(turned) + f"\nThe end of part {number}.\n")
        (folder / "words.json").write_text(json.dumps(DICTIONARY if dictionary is None else dictionary))
        job = folder / "job.toml"
        job.write_text(JOB.format(model=tiny_model) + extra)
        return job

    return write


@pytest.fixture
def make_job(tmp_path: Path, write_job: Callable[..., Path]) -> Callable[..., Path]:
    """`write_job` in the test's own folder."""
    return partial(write_job, tmp_path)


JOB = """
name = "tiny"
model = "{model}"
corpus.paths = ["corpus"]
dictionary.curated = ["words.json"]
blocks.length = 64
reinforce = {{ length = 64, batch = 4, epochs = 2, learning_rate = 1e-3 }}
logits.shard_blocks = 4
student = {{ steps = 4, keep = [2], batch = 4, learning_rate = 1e-3 }}
evaluation.suite = {{ prompts = 4, new_tokens = 4, context_characters = 80 }}
placement = {{ isolation = "inline", device = "cpu", checkpoint_seconds = 0 }}
"""


@pytest.fixture
def direct_run(tmp_path: Path) -> Callable[..., Direct]:
    """Make a run in a workspace, everything inline on the CPU."""

    def make(root: Path | None = None, **placement: Any) -> Direct:
        settings = {"isolation": "inline", "device": "cpu", "checkpoint_seconds": 0.0} | placement
        return Direct(open_workspace(root or tmp_path / "ws"), "tiny", Placement(**settings), Progress(9))

    return make


@pytest.fixture
def in_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A repository's folder in the cache of the hub's client: `main` is commit 1..., `v1` 2...; no snapshot yet."""

    def lay_out(name: str) -> Path:
        refs = tmp_path / "hub" / name / "refs"
        refs.mkdir(parents=True)
        for branch, commit in (("main", "1" * 40), ("v1", "2" * 40)):
            (refs / branch).write_text(commit)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        return refs.parent

    return lay_out


@pytest.fixture
def material() -> Path:
    """Real models and texts, where they lie beside the checkout."""
    folder = Path(__file__).parents[2] / "shared" / "material"
    if not folder.is_dir():
        pytest.skip("needs ../shared/material: real models and texts are not part of the project")
    return folder


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """`nepenthe ...` in a process of its own, with a Prefect home of the tests' own.

    `patch` is Python that runs before the command, to cause a fault at a chosen place.
    """
    own = os.environ | {
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")),
        "OMP_NUM_THREADS": "1",
    }
    own.pop("PREFECT_API_URL", None)

    def run(
        *arguments: str | Path, patch: str = "", environment: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        code = f"import sys\n{patch}\nfrom flows.cli import main\nsys.argv[0] = 'nepenthe'\nmain()"
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=own | (environment or {}),
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )

    return run
