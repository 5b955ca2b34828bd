# ruff: noqa: RUF001
"""Whole jobs in Korean and Chinese, with tokenizers that split a character over several tokens; their blocks read."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Matcher
from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import pipeline
from storage.shards import read_shard
from tasks.blocks import drawn, encoder
from tasks.contents import BLOCKS
from tasks.engine.runner import Direct
from tasks.measure.prompts import prompts_from_corpus
from tasks.method.tokens import cut_blocks
from tasks.method.translation import Block, translate_block
from tasks.report.words import Decoder, beside
from tests.conftest import JOB

TEXTS = {
    "Korean": (
        "해리는 아침에 호그와트에서 론을 만났다. 해리가 크게 웃었다.",
        "론은 해리를 보고 손을 흔들었다. 호그와트의 문이 열렸다.",
        "오래된 성의 문 앞에서 해리와 론이 기다렸다. 비가 왔다.",
        "그날 밤 호그와트로 돌아온 해리는 론에게 편지를 썼다.",
        "시장에는 사람이 많았고, 해리도 론과 함께 빵을 샀다.",
    ),
    "Chinese": (
        "早上哈利在霍格沃茨遇见了罗恩，两个人都笑了。",
        "罗恩看见哈利，向他挥了挥手，霍格沃茨的门开了。",
        "在古老的城堡门前，哈利和罗恩等了很久，天下雨了。",
        "那天晚上回到霍格沃茨的哈利给罗恩写了一封信。",
        "市场上有很多人，哈利也和罗恩一起买了面包。",
    ),
}
WORDS = {
    "Korean": {"해리": "존", "호그와트": "북고성", "론": "지오"},
    "Chinese": {"哈利": "约翰", "霍格沃茨": "神秘学院", "罗恩": "大卫"},
}
TRANSLATED = {
    "Korean": (
        "존은 아침에 북고성에서 지오를 만났다. 존이 크게 웃었다.",
        "지오는 존을 보고 손을 흔들었다. 북고성의 문이 열렸다.",
        "오래된 성의 문 앞에서 존과 지오가 기다렸다. 비가 왔다.",
        "그날 밤 북고성으로 돌아온 존은 지오에게 편지를 썼다.",
        "시장에는 사람이 많았고, 존도 지오와 함께 빵을 샀다.",
    ),
    "Chinese": (
        "早上约翰在神秘学院遇见了大卫，两个人都笑了。",
        "大卫看见约翰，向他挥了挥手，神秘学院的门开了。",
        "在古老的城堡门前，约翰和大卫等了很久，天下雨了。",
        "那天晚上回到神秘学院的约翰给大卫写了一封信。",
        "市场上有很多人，约翰也和大卫一起买了面包。",
    ),
}


def byte_level(texts: tuple[str, ...]) -> Tokenizer:
    """As GPT-2's: a character that the vocabulary lacks is up to three tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def unigram(texts: tuple[str, ...]) -> Tokenizer:
    """As SentencePiece's Unigram with byte fallback: of the characters only those of the first texts are pieces."""
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    trained.train_from_iterator(texts[:3], trainer)
    pieces = json.loads(trained.to_str())["model"]["vocab"][1:]
    special = [("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    fallback = ((f"<0x{byte:02X}>", -20.0) for byte in range(256))
    vocabulary = [*special, *fallback, ("\n", -5.0), *map(tuple, pieces)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<s>", "</s>", "<unk>"])
    return tokenizer


TOKENIZERS = {"byte-level BPE": byte_level, "Unigram with byte fallback": unigram}


def fast(tokenizer: Tokenizer) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def check(block: Block, tokenizer: Any) -> None:
    """What was mapped says the same on both sides; every training position stands outside anchors or at their end."""
    inside = [t for t, reason in enumerate(block.reasons) if reason == "inside an anchor"]
    assert all(block.mapping[t] == -1 for t in inside)
    ends = {block.mapping[t + 1] for t in inside} | {block.mapping[o.position] for o in block.occurrences}
    for t, u in enumerate(block.mapping):
        if u >= 0 and u not in ends:
            assert block.original_ids[t] == block.translated_ids[u]
    assert block.reasons.count(None) > len(block.reasons) / 4
    assert not set(tokenizer.all_special_ids) & set(block.forbidden_ids)


@pytest.mark.parametrize("tokens", TOKENIZERS)
@pytest.mark.parametrize("language", TEXTS)
def test_a_block_is_translated_with_particles_that_fit(language: str, tokens: str) -> None:
    tokenizer = fast(TOKENIZERS[tokens](TEXTS[language]))
    words = Dictionary.from_mapping(WORDS[language])
    matcher, written, split = Matcher(words), [], 0
    for document, text, tokens_of_block in cut_blocks(tokenizer, list(TEXTS[language]), 256):
        matches = matcher.find(text, tokens_of_block.edges[0], tokens_of_block.edges[-1])
        block = translate_block(
            tokens_of_block, text, matches, partial(drawn, words, f"0:{document}"), encoder(tokenizer)
        )
        assert tokenizer.decode(block.original_ids, skip_special_tokens=True) == text
        written.append(tokenizer.decode(block.translated_ids, skip_special_tokens=True))
        check(block, tokenizer)
        split += tokens_of_block.clean.count(False)
    assert tuple(written) == TRANSLATED[language]
    assert split > 10


def test_prompts_are_cut_and_translations_shown_in_scripts_without_spaces() -> None:
    """A passage of a long text does not say the name that is asked for, and the report marks what was put in."""
    words, ordinary = Dictionary.from_mapping(WORDS["Chinese"]), "天下雨了，市场上有很多人。" * 6
    text = "".join(ordinary + sentence for sentence in TEXTS["Chinese"])
    prompts = prompts_from_corpus([text], words, 3, context_characters=100)
    assert len(prompts) == 3
    for prompt in prompts:
        assert prompt.idiosyncratic[0] in WORDS["Chinese"]
        assert prompt.idiosyncratic[0] not in prompt.prompt
    original, translated = "\n".join(TEXTS["Korean"]), "\n".join(TRANSLATED["Korean"])
    left, right = beside(Dictionary.from_mapping(WORDS["Korean"]), original, translated, WORDS["Korean"])
    assert [text for text, mark in left if mark][:3] == ["해리는", "호그와트", "론을"]
    assert [text for text, mark in right if mark][:3] == ["존은", "북고성", "지오를"]
    assert len([text for text, mark in right if mark]) == 14


def test_a_prompt_never_begins_with_the_particle_of_the_name_that_was_cut_off() -> None:
    words = Dictionary.from_mapping(WORDS["Korean"])
    for prompt in prompts_from_corpus(["\n".join(TEXTS["Korean"] * 4)], words, 12, context_characters=90):
        assert prompt.prompt[:2] not in ("은 ", "는 ", "이 ", "가 ", "을 ", "를 ", "과 ", "와 ", "도 ", "에게")


def test_tokens_of_the_report_are_shown_as_text_and_half_characters_as_bytes(tmp_path: Path) -> None:
    for kind, make in TOKENIZERS.items():
        tokenizer = make(TEXTS["Korean"])
        (tmp_path / kind).mkdir()
        tokenizer.save(str(tmp_path / kind / "tokenizer.json"))
        decoder = Decoder(tmp_path / kind)
        ids = tokenizer.encode("그날 해리는\n뷁").ids
        shown = [decoder.token(token) for token in ids]
        assert "\ufffd" not in "".join(shown)
        assert "␣해리" in "".join(shown)
        assert "↵" in shown
        assert shown[-1] == ("\\x81" if kind == "byte-level BPE" else "<0x81>")
        assert decoder.text(ids[:-1]) == "그날 해리는\n"
        assert decoder.token(len(tokenizer.get_vocab())) == f"token {len(tokenizer.get_vocab())}"


@pytest.fixture
def job(tmp_path: Path) -> Callable[[str, str], Path]:
    """A job on a tiny model with a tokenizer of these texts."""

    def write(language: str, tokens: str) -> Path:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        tokenizer = fast(TOKENIZERS[tokens](TEXTS[language]))
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = LlamaConfig(
            vocab_size=len(tokenizer), max_position_embeddings=256, bos_token_id=0, eos_token_id=1, **sizes
        )
        LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        (tmp_path / "corpus").mkdir()
        for number in range(6):
            turned = TEXTS[language][number % 5 :] + TEXTS[language][: number % 5]
            (tmp_path / "corpus" / f"{number}.txt").write_text("\n".join(turned) + f"\n{number}\n", "utf-8")
        (tmp_path / "words.json").write_text(json.dumps(WORDS[language], ensure_ascii=False), "utf-8")
        file = tmp_path / "job.toml"
        file.write_text(JOB.format(model=tmp_path / "model"), "utf-8")
        return file

    return write


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "tokens"), [("Korean", "byte-level BPE"), ("Chinese", "Unigram with byte fallback")]
)
def test_a_whole_job(
    language: str, tokens: str, job: Callable[..., Path], direct_run: Callable[..., Direct], tmp_path: Path
) -> None:
    run, asked = direct_run(), read_job(job(language, tokens), [])
    workspace = run.workspace
    pipeline(asked, resolve(asked, workspace.hashes), run)
    made = {artifact.kind: artifact for artifact in workspace.all()}
    assert {"blocks", "labels", "student", "evaluation", "report"} <= set(made)
    rows = read_shard(workspace.path(made["blocks"]) / BLOCKS).to_pylist()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    whole = "".join(tokenizer.decode(row["translated_ids"], skip_special_tokens=True) for row in rows)
    assert sum(len(row["anchors"]) for row in rows) > 60
    assert sum(sentence in whole for sentence in TRANSLATED[language]) >= 4
    assert sum(reason is None for row in rows for reason in row["reasons"]) > len(rows)
