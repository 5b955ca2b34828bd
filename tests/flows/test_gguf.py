"""GGUF files become model directories."""

import json
from pathlib import Path
from typing import Any

import pytest

from storage.errors import BadInput
from storage.files import Hashes
from tasks.models import find_model, load_model, load_tokenizer
from tasks.real.gguf import main, write_model

WIDTH = 32


@pytest.fixture
def weights(tmp_path: Path, tokenizer: Any) -> Path:
    """A Llama of one layer as GGUF, in the names of llama.cpp."""
    gguf = pytest.importorskip("gguf")
    import numpy as np

    path, chance = tmp_path / "tiny.gguf", np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    written = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(written["vocab"], key=written["vocab"].get)
    tokens[1] = "<|endoftext|>"  # which the reader adds where there is none
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_merges([" ".join(pair) for pair in written["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(1)
    square, row = (WIDTH, WIDTH), (WIDTH,)
    shapes = {"token_embd": (len(tokens), WIDTH), "output_norm": row, "output": (len(tokens), WIDTH)}
    of_layer = {"attn_norm": row, "ffn_norm": row} | {f"attn_{name}": square for name in ("q", "k", "v", "output")}
    of_layer |= {f"ffn_{name}": square for name in ("gate", "up", "down")}
    shapes |= {f"blk.0.{name}": shape for name, shape in of_layer.items()}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", chance.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_becomes_a_directory_that_can_be_used(
    weights: Path, tmp_path: Path, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    import gguf
    import torch

    folder = tmp_path / "model"
    assert main([str(weights), str(folder)]) == 0
    hashes = Hashes(tmp_path / "hashes.json")
    model = find_model(folder, hashes)
    loaded = load_model(model.path)
    assert f"{sum(p.numel() for p in loaded.parameters()):,} parameters in {folder}" in capsys.readouterr().out
    stored = next(tensor for tensor in gguf.GGUFReader(weights).tensors if tensor.name == "token_embd.weight")
    assert torch.equal(loaded.get_input_embeddings().weight, torch.from_numpy(stored.data.copy()))
    text = "The owl flew over Castle Marrow"
    ids = load_tokenizer(model.tokenizer)(text, add_special_tokens=False).input_ids
    assert ids == tokenizer(text, add_special_tokens=False).input_ids

    modes = {path.stat().st_mode & 0o666 for path in folder.iterdir()}
    assert modes == {folder.stat().st_mode & 0o666}  # whoever may read the folder reads all of it

    assert main([str(weights), str(folder)]) == 2
    assert "expected a new or empty folder to write to" in capsys.readouterr().err
    write_model(weights, folder)  # a stage that was killed writes over what it had


def test_what_is_no_gguf_file_is_refused_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"no model")
    for arguments, said in (
        ([], "FILE FOLDER"),
        ([str(tmp_path / "none.gguf"), "x"], "found none at"),
        ([str(tmp_path / "bad.gguf"), str(tmp_path / "m")], "causal language model as GGUF"),
    ):
        assert main(arguments) == 2
        printed = capsys.readouterr().err
        assert said in printed
        assert printed.count("\n") == 1
    assert not (tmp_path / "m").exists()


def test_a_torn_gguf_file_is_refused_in_one_sentence(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(weights.read_bytes()[:700])
    assert main([str(torn), str(tmp_path / "m")]) == 2
    assert f"as GGUF in {torn}, found: " in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_a_gguf_file_in_the_place_of_a_model_is_told_how_to_become_one(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    for name in (tmp_path, tmp_path / "tiny.gguf"):
        with pytest.raises(BadInput, match=r"found .*tiny\.gguf: convert it with python -m tasks\.real\.gguf"):
            find_model(name, Hashes(tmp_path / "hashes.json"))
