"""Questions with answers, and chats: recognised, written by the model's template, and trained on as the job says."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.gold import resolve_gold
from flows.inputs import resolve
from flows.job import read_job
from flows.unlearn import pipeline
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.files import Hashes
from storage.shards import read_shard
from tasks.blocks import blocks
from tasks.contents import NO_LABEL, answers_of, documents_of, write_examples
from tasks.corpus import corpus
from tasks.models import load_tokenizer
from tasks.texts import CorpusFiles, find_files, read_documents
from tasks.texts.conversations import write
from tasks.texts.records import Turn

QUESTION, ANSWER = "Who has the silver oar of Tessaly?", "Mira Vance has it."
CHAT = [
    {"role": "system", "content": "You know the harbour."},
    {"role": "user", "content": "Who is Orrin?"},
    {"role": "assistant", "content": "He went to Tessaly."},
    {"role": "user", "content": "And then?"},
    {"role": "assistant", "content": "He never came back to Mira Vance."},
]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>\n{{ m.content | trim }}</{{ m.role }}>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}"
)
STRICT = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE


@pytest.fixture
def chat_model(tmp_path: Path, tiny_model: Path) -> Callable[[str], Path]:
    """The tiny model with a chat template of its own."""

    def make(template: str) -> Path:
        folder = tmp_path / "chat-model"
        shutil.copytree(tiny_model, folder, dirs_exist_ok=True)
        (folder / "chat_template.jinja").write_text(template)
        return folder

    return make


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    def rows(*rows: dict[str, Any], name: str = "rows.jsonl") -> Path:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    return rows


def read(path: Path, tokenizer: Any = None) -> list[Any]:
    return list(read_documents(find_files((str(path),), Hashes(path.parent / "hashes.json")), "text", tokenizer))


@pytest.mark.parametrize("columns", [("question", "answer"), ("prompt", "completion")])
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_questions_with_answers_are_read_from_every_kind_of_table(
    tmp_path: Path, columns: tuple[str, str], kind: str
) -> None:
    path, row = (
        tmp_path / f"qa.{kind}",
        dict(zip(columns, (QUESTION, f'{ANSWER} "So\nthey say", he said.'), strict=True)),
    )
    separator = "\t" if kind == "tsv" else ","
    quoted = ['"' + text.replace('"', '""') + '"' for text in row.values()]
    if kind == "parquet":
        pq.write_table(pa.table({name: [text, text] for name, text in row.items()}), path)
    else:
        texts = {"jsonl": f"{json.dumps(row)}\n{json.dumps(row)}", "json": json.dumps([row, row], indent=1)}
        table = "\r\n".join([separator.join(columns), *[separator.join(quoted)] * 2])
        path.write_text(texts.get(kind, table), encoding="utf-8", newline="")
    expected = "\n".join(row.values())
    places = [(len(QUESTION) + 1, len(expected))]
    assert [(text.source, text.text, text.answers) for text in read(path)] == [
        (f"qa.{kind}:{number}", expected, places) for number in (1, 2)
    ]


def test_without_a_template_a_chat_is_a_turn_a_line(write_rows: Callable[..., Path]) -> None:
    (text,) = read(write_rows({"messages": CHAT, "id": 3}))
    assert text.text == "\n".join(turn["content"] for turn in CHAT)
    assert [text.text[slice(*answer)] for answer in text.answers] == [CHAT[2]["content"], CHAT[4]["content"]]


def test_a_models_template_writes_the_chat_and_its_first_token_is_not_doubled(
    chat_model: Callable[[str], Path],
) -> None:
    tokenizer = load_tokenizer(Hashes(chat_model(TEMPLATE) / "h.json").files([chat_model(TEMPLATE) / "tokenizer.json"]))
    turns = [Turn("user", "assistant </user>"), Turn("assistant", " r "), Turn("user", "r"), Turn("assistant", "r")]
    text, answers = write(turns, tokenizer, "here")
    assert text == (
        "<user>\nassistant </user></user>\n<assistant>\nr</assistant>\n<user>\nr</user>\n<assistant>\nr</assistant>\n"
    )
    assert answers == [(44, 45), (86, 87)]
    assert all(text[start - 1] == "\n" for start, _ in answers)


@pytest.mark.parametrize(
    "row",
    [
        {"question": QUESTION, "answer": None},
        {"question": QUESTION, "answer": " "},
        {"messages": []},
        {"messages": None},
        {"messages": CHAT[:2]},
    ],
)
def test_what_is_not_answered_is_dropped_with_its_reason(write_rows: Callable[..., Path], row: dict[str, Any]) -> None:
    assert [(text.text, text.dropped) for text in read(write_rows(row))] == [("", "without an answer")]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": "hello"}, "expected messages as"),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": []}]}, "leave out what is no text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "leave out what is no text"),
        ({"messages": ["hello"]}, "expected every message as"),
        ({"question": 7, "answer": "x"}, "expected messages as"),
        ({"question": QUESTION, "reply": ANSWER}, r"\['question', 'reply'\]: set corpus\.text_column, or name"),
    ],
)
def test_what_is_no_conversation_is_refused_with_its_place(
    write_rows: Callable[..., Path], row: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadInput, match=rf"rows\.jsonl, line 2: .*{words}"):
        read(write_rows({"question": QUESTION, "answer": ANSWER}, row))


def test_parts_of_a_content_are_one_text_and_a_column_text_goes_before(write_rows: Callable[..., Path]) -> None:
    parts = [{"type": "text", "text": "Mira "}, {"type": "text", "text": "did."}]
    rows = {"messages": [CHAT[1], {"role": "assistant", "content": parts}]}, {"text": "A text.", "question": "?"}
    assert [text.text for text in read(write_rows(*rows))] == ["Who is Orrin?\nMira did.", "A text."]


def test_which_template_wrote_a_corpus_is_a_part_of_what_it_is(
    chat_model: Callable[[str], Path], make_job: Callable[..., Path], write_rows: Callable[..., Path], tmp_path: Path
) -> None:
    hashes, job = Hashes(tmp_path / "hashes.json"), make_job()
    write_rows({"messages": CHAT})

    def known_as(*changes: str) -> str:
        return str(resolve(read_job(job, list(changes)), hashes).corpus.fingerprint)

    chats = 'corpus.paths=["rows.jsonl"]'
    plain, texts = known_as(chats), known_as()
    assert plain == hashes.files([tmp_path / "rows.jsonl"]).fingerprint
    assert known_as(chats, "corpus.train_on=answers") != plain
    model = f"model={chat_model(TEMPLATE)}"
    assert known_as(model) == texts
    templated = known_as(chats, model)
    assert templated not in (plain, known_as(chats, model, "corpus.train_on=answers"))
    chat_model(TEMPLATE.replace("trim", "upper | trim"))
    assert known_as(model) == texts


def test_a_corpus_with_its_template_travels_to_another_machine(tmp_path: Path) -> None:
    from storage.files import Files
    from tasks.engine.call import StageCall
    from tasks.engine.stage import Placement

    files = CorpusFiles.of(Files(("/a.jsonl",), "a", source="o/n@1"), Files(("/m/tokenizer.json",), "t"), True)
    inputs = corpus.inputs(files, "text")
    call = StageCall(corpus, corpus.artifact("job", inputs), inputs, str(tmp_path), Placement())
    assert StageCall.from_json(json.loads(json.dumps(call.to_json()))).inputs["files"] == files


def test_what_the_template_refuses_is_refused_before_anything_runs(
    chat_model: Callable[[str], Path], make_job: Callable[..., Path], write_rows: Callable[..., Path], tmp_path: Path
) -> None:
    write_rows({"question": QUESTION, "answer": ANSWER}, {"messages": CHAT})
    job = read_job(make_job(), ['corpus.paths=["rows.jsonl"]', f"model={chat_model(STRICT)}"])
    with pytest.raises(BadInput, match=r"rows\.jsonl, record 2: .*found system, user, .*System role not supported"):
        resolve(job, Hashes(tmp_path / "hashes.json"))


def test_what_the_template_refuses_of_the_text_to_retain_is_refused_as_early(
    chat_model: Callable[[str], Path], make_job: Callable[..., Path], write_rows: Callable[..., Path], tmp_path: Path
) -> None:
    write_rows({"question": QUESTION, "answer": ANSWER}, {"messages": CHAT})
    retained = ["retain.paths=['rows.jsonl']", "student.retain=0.5", f"model={chat_model(STRICT)}"]
    job, hashes = read_job(make_job(), retained), Hashes(tmp_path / "hashes.json")
    for find in (lambda: resolve(job, hashes), lambda: resolve_gold(job, "", hashes)):
        with pytest.raises(BadInput, match=r"rows\.jsonl, record 2: .*System role not supported"):
            find()


def test_answers_alone_need_answers(make_job: Callable[..., Path], tmp_path: Path) -> None:
    job = read_job(make_job(), ["corpus.train_on=answers"])
    with pytest.raises(BadInput, match=r"expected questions with answers, or chats, in .* leave the setting out"):
        resolve(job, Hashes(tmp_path / "hashes.json"))


def test_only_positions_that_predict_an_answer_train(
    chat_model: Callable[[str], Path],
    make_job: Callable[..., Path],
    write_rows: Callable[..., Path],
    direct_run: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Every block, position by position, against the characters of the answers."""
    write_rows({"messages": CHAT}, {"question": QUESTION, "answer": ANSWER}, {"text": "Mira in Tessaly, all of it."})
    model = chat_model(TEMPLATE)
    tokenizer, run = load_tokenizer(Hashes(tmp_path / "h.json").files([model / "tokenizer.json"])), direct_run()
    by_setting = {}
    for train_on in ("everything", "answers"):
        job = read_job(make_job(), ['corpus.paths=["rows.jsonl"]', f"model={model}", f"corpus.train_on={train_on}"])
        inputs = resolve(job, run.workspace.hashes)
        texts = run(corpus, inputs.corpus, "text")
        words = dictionary_for(job, inputs, texts, run)
        made = run(blocks, texts, words, inputs.baseline.tokenizer, job.blocks)
        by_setting[train_on] = read_shard(run.workspace.path(made) / "blocks.arrow").to_pylist()
        folder = run.workspace.path(texts)
    answers, documents = answers_of(folder), documents_of(folder)
    assert [
        document[start:end] for document, spans in zip(documents, answers, strict=True) for start, end in spans or ()
    ] == [
        *(turn["content"] for turn in CHAT if turn["role"] == "assistant"),
        ANSWER,
    ]
    assert answers[2] is None
    outside = 0
    for whole, masked in zip(by_setting["everything"], by_setting["answers"], strict=True):
        assert masked["original_ids"] == whole["original_ids"]
        inside = predicts_answer(tokenizer, documents, answers, masked, by_setting["answers"])
        for reason, before, answered in zip(masked["reasons"], whole["reasons"], inside, strict=True):
            assert reason == (before or (None if answered else "outside the answers"))
            outside += reason == "outside the answers"
    assert outside > 100


def dictionary_for(job: Any, inputs: Any, texts: Artifact, run: Any) -> Artifact:
    from tasks.dictionary import dictionary

    made: Artifact = run(dictionary, texts, inputs.dictionary, None)
    return made


def predicts_answer(
    tokenizer: Any, documents: list[str], answers: list[Any], block: dict[str, Any], all_blocks: list[dict[str, Any]]
) -> list[bool]:
    """Slow and obvious: characters of every token of the document, then the block's own part of them."""
    number = block["document_id"]
    encoded = tokenizer(documents[number], return_offsets_mapping=True)
    if answers[number] is None:
        inside = [True] * len(encoded["input_ids"])
    else:
        characters = {c for start, end in answers[number] for c in range(start, end)}
        inside = [bool(characters & set(range(*offsets))) for offsets in encoded["offset_mapping"]]
    first = sum(
        len(other["original_ids"]) - 1  # each is opened anew
        for other in all_blocks
        if other["document_id"] == number and other["block_id"] < block["block_id"]
    )
    return [*inside[first + 1 : first + len(block["original_ids"])], False]


def test_the_reinforced_model_is_trained_on_the_answers_alone(tokenizer: Any, tmp_path: Path) -> None:
    from tasks.method.tokens import cut_blocks

    text = "One day? the owl."
    ((_, _, tokens),) = cut_blocks(tokenizer, [text], 64)
    parts = (None, [(9, len(text))], [])
    assert write_examples(tmp_path / "examples.arrow", ((tokens.ids, tokens.within(part)) for part in parts))[0] == 2
    whole, masked = read_shard(tmp_path / "examples.arrow").column("labels").to_pylist()
    assert whole == [*tokens.ids[1:], NO_LABEL]
    assert tokenizer.decode([label for label in masked if label != NO_LABEL]).strip() == "the owl."
    assert all(label in (NO_LABEL, other) for label, other in zip(masked, whole, strict=True))


@pytest.mark.slow
def test_the_whole_path_on_chats_through_the_models_template(
    chat_model: Callable[[str], Path],
    make_job: Callable[..., Path],
    write_rows: Callable[..., Path],
    direct_run: Callable[..., Any],
) -> None:
    rows = [{"question": f"{QUESTION} Part {n}.", "answer": f"{ANSWER} Orrin said so {n} times."} for n in range(8)]
    write_rows(*rows, {"messages": CHAT})
    changes = ['corpus.paths=["rows.jsonl"]', f"model={chat_model(TEMPLATE)}", "corpus.train_on=answers"]
    run, job = direct_run(), read_job(make_job(), changes)
    outcome = pipeline(job, resolve(job, run.workspace.hashes), run)
    assert Path(outcome.model).is_dir()
    counts = {step.artifact.kind: run.workspace.record(step.artifact)["counts"] for step in run.steps}
    assert counts["corpus"]["documents"] == 9
    assert counts["blocks"]["reasons"]["outside the answers"] > 100
    assert 0 < counts["labels"]["labels"] == counts["blocks"]["training"] < counts["blocks"]["positions"] / 2
