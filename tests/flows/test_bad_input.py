"""Bad input gets one clear sentence and exit code 2, before anything runs, with nothing half-written."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from flows.cli import exit_code
from flows.cli.show import run_query
from flows.job import Job
from storage.artifact import Artifact
from storage.errors import BadInput
from storage.schemas import TABLES
from storage.shards import write_shard
from storage.workspace import Workspace
from tasks.engine.runner import running
from tasks.engine.stage import Placement
from tasks.models import load_model

Refused = Callable[..., str]


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], make_job: Callable[..., Path]
) -> Refused:
    """The sentence with which a job is refused; keywords as for make_job."""

    def run(
        *changes: str, prepare: Callable[[Path], Any] = lambda folder: None, options: tuple[str, ...] = (), **job: Any
    ) -> str:
        file = make_job(**job)
        prepare(tmp_path)
        root = tmp_path / "ws"
        arguments = ["nepenthe", "unlearn", str(file), "--root", str(root), "--json", *options]
        monkeypatch.setattr(sys, "argv", arguments + [word for change in changes for word in ("--set", change)])
        assert exit_code() == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("nepenthe: ")
        assert said.err.count("\n") == 1
        assert not list(root.glob("*/*.partial"))
        return said.err

    return run


def test_a_missing_corpus_is_named(refused: Refused) -> None:
    assert "nothing-here" in refused('corpus.paths=["nothing-here"]')


def test_an_empty_corpus_is_refused(refused: Refused) -> None:
    def empty(folder: Path) -> None:
        for file in (folder / "corpus").iterdir():
            file.write_text(" \n")

    assert "only empty documents" in refused(prepare=empty)


def test_an_empty_folder_is_refused(refused: Refused) -> None:
    def clear(folder: Path) -> None:
        for file in (folder / "corpus").iterdir():
            file.unlink()

    assert "found none" in refused(prepare=clear)


EVIDENCE = {
    "evaluation.heldout": (" \n", "evaluation.heldout: expected text, found none in "),
    "evaluation.benchmarks": ('{"query": "?", "choices": ["a"], "gold": 1}', "line 1: gold is 1"),
}


@pytest.mark.parametrize("setting", EVIDENCE)
def test_evidence_that_holds_nothing_or_the_wrong_is_refused_before_a_model_is_loaded(
    refused: Refused, tmp_path: Path, setting: str
) -> None:
    text, words = EVIDENCE[setting]
    (tmp_path / "given.jsonl").write_text(json.dumps({"text": text}) if setting == "evaluation.heldout" else text)
    assert words in refused(f'{setting}=["{tmp_path}/given.jsonl"]')


@pytest.mark.parametrize("setting", ["retain.paths", "evaluation.heldout", "dictionary.reference"])
def test_texts_beside_the_corpus_are_read_before_a_model_is_loaded_and_their_column_s_setting_is_named(
    refused: Refused, tmp_path: Path, setting: str
) -> None:
    (tmp_path / "given.jsonl").write_text('{"body": "The lamps were lit."}')
    (tmp_path / "kept.txt").write_text("The lamps were lit.")
    beside = ('retain.paths=["kept.txt"]', "student.retain=0.5", "dictionary.extract=statistics")
    assert f"set {setting.partition('.')[0]}.text_column" in refused(*beside, f'{setting}=["given.jsonl"]')


@pytest.mark.parametrize("trained", ["corpus.paths", "retain.paths"])
def test_text_that_a_model_is_trained_on_is_not_held_out(refused: Refused, tmp_path: Path, trained: str) -> None:
    (tmp_path / "kept.txt").write_text("The lamps were lit.")
    beside = ('retain.paths=["kept.txt"]', "student.retain=0.5")

    def copied(folder: Path) -> None:
        shutil.copy(folder / ("corpus/3.txt" if trained == "corpus.paths" else "kept.txt"), folder / "heldout.txt")

    said = refused(*beside, 'evaluation.heldout=["heldout.txt"]', prepare=copied)
    assert f"which {trained} names: hold out other text" in said


def test_what_has_no_room_in_the_model_s_context_is_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "heldout.txt").write_text("The lamps were lit.")
    window = refused('evaluation.heldout=["heldout.txt"]', "evaluation.suite.window=129")
    assert "evaluation.suite.window: expected 2 to 128 tokens" in window
    asked = refused('corpus.elicit={subject="Tessaly", tokens=110}')
    assert "corpus.elicit.tokens: expected 2 to " in asked
    assert "for what stands beside them, found 110" in asked


def test_a_list_of_everyday_words_that_is_not_utf8_is_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "everyday.txt").write_bytes("caf\u00e9 ".encode("latin-1"))
    assert "everyday.txt" in refused('dictionary.everyday="everyday.txt"')


@pytest.mark.parametrize("setting", ["dictionary.curated", "dictionary.everyday"])
def test_a_file_that_is_not_there_is_named_with_its_setting(refused: Refused, tmp_path: Path, setting: str) -> None:
    value = f'["{tmp_path}/away"]' if setting == "dictionary.curated" else f'"{tmp_path}/away"'
    assert f"{setting}: expected a file at {tmp_path}/away, found nothing" in refused(f"{setting}={value}")


def test_text_that_is_not_utf8_is_named_with_file_and_byte_offset(refused: Refused) -> None:
    def spoil(folder: Path) -> None:
        (folder / "corpus" / "5.txt").write_bytes("Mira é".encode() + b"\xff\xfe")

    sentence = refused(prepare=spoil)
    assert "5.txt" in sentence
    assert "byte offset 7" in sentence


@pytest.mark.parametrize(
    ("dictionary", "words"),
    [
        ({"Mira": "Mira"}, "to itself"),
        ({"Mira": "Orrin", "Orrin": "Peter"}, "Orrin"),
        ({"Mira": ""}, "to nothing"),
        ({"Mira": []}, "no translation"),
        ({"Mira": 7}, "Mira"),
        ({"Nowhere": "Somewhere"}, "found none of its 1"),
    ],
)
def test_a_dictionary_that_cannot_work_is_refused(refused: Refused, dictionary: Any, words: str) -> None:
    assert words in refused(dictionary=dictionary)


def test_a_dictionary_that_is_no_json_is_refused(refused: Refused) -> None:
    assert "words.json" in refused(prepare=lambda folder: (folder / "words.json").write_text("{"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("blocks.length=129", "2 to 128 tokens"),
        ("reinforce.length=1000", "2 to 128 tokens"),
        ("labels.alpha=-1", "greater than or equal to 0"),
        ("labels.alhpa=1", "labels.alhpa: unknown setting"),
        ("student.steps=many", "valid integer"),
        ("student.steps=0", "greater than or equal to 1"),
        ("placement.ranks=3", "divides a batch of 4 blocks, found 3"),
        ("placement.nodes=2", "expected placement.rendezvous"),
        ("student.batch=0", "greater than or equal to 1"),
        ("student.warmup_steps=5", "student: expected at most 4 warmup_steps"),
        ('retain.labels="baseline"', "retain: expected paths, text to retain"),
        ("stop.early=true", "stop: expected a limit with early"),
        ('corpus.elicit.names=["Mira"]', "corpus: expected a subject in words"),
        ('corpus.elicit.subject=" "', "corpus: expected a subject in words"),
        ("evaluation.suite.seed=-1", "greater than or equal to 0"),
        ('evaluation.prompts="words.json"', "a list of prompts"),
        ("nonsense", "section.setting=value"),
        ("corpus.paths=[corpus]", 'expected a list, as in ["a", "b"] (found'),  # a shell took the quotes
        ("=1", "section.setting=value"),
        ('name="a/b"', "letters, digits"),
        ('model="/nonexistent"', "no config.json"),
    ],
)
def test_a_bad_setting_is_refused(refused: Refused, change: str, words: str) -> None:
    assert words in refused(change)


def test_soft_labels_of_one_candidate_are_refused(refused: Refused) -> None:
    assert "labels.soft: expected logits.top of at least 2" in refused("labels.soft=0.5", "logits.top=1")


def test_a_job_file_that_is_missing_or_no_toml_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for text, words in ((None, "found nothing"), ("name = ", "expected TOML")):
        file = tmp_path / "job.toml"
        if text is not None:
            file.write_text(text)
        monkeypatch.setattr(sys, "argv", ["nepenthe", "plan", str(file), "--root", str(tmp_path / "ws")])
        assert exit_code() == 2
        assert words in capsys.readouterr().err


def test_a_tokenizer_that_is_not_fast_is_refused(refused: Refused, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "slow")
    (tmp_path / "slow" / "tokenizer.json").unlink()
    assert "fast tokenizer" in refused('model="slow"')


@pytest.mark.parametrize("beside_a_whole_model", [False, True])
def test_an_adapter_is_no_model_and_is_not_loaded_unasked(
    refused: Refused, tiny_model: Path, tmp_path: Path, beside_a_whole_model: bool
) -> None:
    folder = tmp_path / "adapter"
    if beside_a_whole_model:
        shutil.copytree(tiny_model, folder)
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    sentence = refused('model="adapter"')
    assert "found an adapter" in sentence
    assert "merge_and_unload" in sentence


def test_weights_that_are_not_safetensors_are_refused(refused: Refused, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    assert "safetensors" in refused('model="pickled"')


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("model.safetensors", b"", "found 0 bytes"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "get the file again"),
        ("config.json", b"[]", "a JSON object"),
        ("tokenizer.json", b"{}", "a vocabulary"),
        ("tokenizer_config.json", b"", "expected JSON"),
    ],
)
def test_a_model_of_which_a_file_is_broken_is_refused(
    refused: Refused, tiny_model: Path, tmp_path: Path, file: str, content: bytes, words: str
) -> None:
    shutil.copytree(tiny_model, tmp_path / "broken")
    (tmp_path / "broken" / file).write_bytes(content)
    assert words in refused('model="broken"')


def test_half_a_file_of_weights_is_refused(refused: Refused, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "half")
    with (tmp_path / "half" / "model.safetensors").open("r+b") as file:
        file.truncate(40_000)
    assert "found 40,000 bytes" in refused('model="half"')


@pytest.mark.parametrize("change", [{"num_hidden_layers": 3}, {"intermediate_size": 32}])
def test_weights_that_the_config_does_not_describe_are_never_drawn(
    tiny_model: Path, tmp_path: Path, change: dict[str, int]
) -> None:
    shutil.copytree(tiny_model, tmp_path / "other")
    config = json.loads((tiny_model / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(BadInput, match="do not belong together"):
        load_model(tmp_path / "other")


def test_a_folder_for_a_job_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nepenthe", "plan", str(tmp_path), "--root", str(tmp_path / "ws")])
    assert exit_code() == 2
    assert f"Is a directory: {tmp_path}" in capsys.readouterr().err


def test_a_folder_that_is_not_there_to_write_in_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "words.json").write_text('{"Mira": "Anna"}')
    table, root = tmp_path / "none" / "review.csv", tmp_path / "ws"
    arguments = ["nepenthe", "dictionary", "export", str(table), "--dictionary", str(tmp_path / "words.json")]
    monkeypatch.setattr(sys, "argv", [*arguments, "--root", str(root)])
    assert exit_code() == 2
    assert f"No such file or directory: {table}" in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["gold", "reinforced"])
def test_models_whose_vocabularies_differ_are_refused(
    refused: Refused, tiny_model: Path, tmp_path: Path, setting: str
) -> None:
    shutil.copytree(tiny_model, tmp_path / "other")
    config = json.loads((tiny_model / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps(config | {"vocab_size": 999}))
    assert "one vocabulary" in refused(f'{setting}="other"')


def test_models_of_one_size_but_other_tokens_are_refused(refused: Refused, tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "other")
    tokenizer = json.loads((tiny_model / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "other tokens" in refused('gold="other"')


def test_a_workspace_in_use_says_by_whom(refused: Refused, tmp_path: Path) -> None:
    with Workspace(tmp_path / "ws").writing():
        assert f"process {os.getpid()}" in refused(options=("--wait", "0"))


def test_a_query_that_is_wrong_is_refused_in_duckdb_s_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from storage.tables import open_tables

    with open_tables(Workspace(tmp_path), write=True):
        pass
    monkeypatch.setattr(sys, "argv", ["nepenthe", "sql", "SELECT nothing", "--root", str(tmp_path)])
    assert exit_code() == 2
    assert "nothing" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["nepenthe", "sql", "DROP TABLE logits", "--root", str(tmp_path)])
    assert exit_code() == 2
    assert "read-only" in capsys.readouterr().err


def test_tables_that_cannot_be_opened_are_not_the_querys_fault(tmp_path: Path) -> None:
    Workspace(tmp_path).database.mkdir()
    with pytest.raises(BadInput, match=r"expected tables that you may read, found: .*tables\.duckdb"):
        run_query(Workspace(tmp_path), "SELECT 1")


def test_a_query_that_meets_a_torn_shard_is_not_to_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from storage.tables import open_tables

    logits = Artifact("logits", "x", "a" * 16)
    shard = Workspace(tmp_path).resume(logits) / "logits-00000000-00000001.parquet"
    write_shard(shard, [dict.fromkeys(TABLES["logits"].columns)])
    with open_tables(Workspace(tmp_path), write=True):
        pass
    shard.write_bytes(shard.read_bytes()[:-20])
    monkeypatch.setattr(sys, "argv", ["nepenthe", "sql", "FROM logits", "--root", str(tmp_path)])
    assert exit_code() == 2
    said = capsys.readouterr().err
    assert "expected whole shards" in said
    assert "verify --repair" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["MODEL", "--suite", "tofu", "--set", "alpha=3"], "alpha: unknown setting"),
        (["MODEL", "--suite", "tofu", "--job", "job.toml"], "a suite asks about its own texts"),
        (["--suite", "tofu"], "expected MODEL"),
        (["MODEL", "--reference", "TOFU_EVAL.json", "--part", "forget01"], "--suite with --reference, --part"),
    ],
    ids=["setting", "job", "no model", "no suite"],
)
def test_what_does_not_go_with_a_suite_is_refused(
    arguments: list[str], said: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    given = [str(tiny_model) if argument == "MODEL" else argument for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["nepenthe", "audit", *given, "--root", str(tmp_path / "ws")])
    assert exit_code() == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "log",
    [
        {"mia_min_k": {"agg_value": "x"}},
        {"mia_min_k": {"agg_value": None}},
        {"forget_truth_ratio": {"agg_value": 0.5, "value_by_index": {"0": {"ratio": 1.0}}}},
    ],
    ids=["text", "nothing", "no score"],
)
def test_a_reference_that_cannot_be_compared_with_is_refused_before_a_model_is_asked(
    log: dict[str, Any], tmp_path: Path
) -> None:
    from flows.suite import _reference

    file = tmp_path / "TOFU_EVAL.json"
    file.write_text(json.dumps(log))
    with pytest.raises(BadInput, match="--reference: expected mia_min_k and the scores"):
        _reference(str(file))


def test_a_full_disk_is_reported_and_what_was_finished_is_kept(
    tmp_path: Path, make_job: Callable[..., Path], direct_run: Callable[..., Any]
) -> None:
    from flows.inputs import resolve
    from flows.job import read_job
    from storage.errors import DiskFull
    from tasks.corpus import corpus
    from tasks.engine.stage import stage

    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    try:
        run, job = direct_run(disk / "ws"), read_job(make_job(), [])
        texts = run(corpus, resolve(job, run.workspace.hashes).corpus, "text")

        @stage("huge", version=1)
        def huge(context: Any) -> dict[str, Any]:
            (context.folder / "data").write_bytes(bytes(4_000_000))
            return {}

        with pytest.raises(DiskFull, match=r"is full .* run the same job again"):
            run(huge)
        assert run.workspace.find("corpus", texts.fingerprint) == texts
        assert run.workspace.all() == [texts]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--model", "no config.json"),
        ("--heldout", "evaluation.heldout"),
        ("--benchmarks", "lm-eval task"),
    ],
)
def test_what_the_real_experiment_cannot_use_is_refused_before_its_engine_starts(
    command: Callable[..., Any], tmp_path: Path, option: str, said: str
) -> None:
    no_engine = "import flows.cli\nflows.cli.start_engine = lambda *_: sys.exit('the engine started')"
    refused = command("real", option, tmp_path / "nothing", "--root", tmp_path / "ws", patch=no_engine)
    assert refused.returncode == 2, refused.stderr
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def _numbers(settings: type[BaseModel], above: str = "") -> Iterator[tuple[str, bool]]:
    """Every setting of numbers, by its name, and whether it has bounds."""
    for name, field in settings.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if sections:
            yield from _numbers(sections[0], f"{above}{name}.")
        elif {int, float} & set(kinds):
            yield above + name, bool(field.metadata)


def test_every_number_of_a_job_has_bounds() -> None:
    unbounded = {name for name, bounds in _numbers(Job) if not bounds}
    by_the_model = {"blocks.length", "reinforce.length", "student.keep"}  # its context; steps that there are not
    assert unbounded - by_the_model == {"dictionary.llm.temperature", "judge.temperature"}  # the endpoint's business


def test_a_gpu_that_is_not_here_is_missed_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    heavy = SimpleNamespace(stage=SimpleNamespace(heavy=True), cached=False)
    planned: Any = SimpleNamespace(steps=[heavy])
    with pytest.raises(BadInput, match="expected a GPU"), running(planned, Placement(device="cuda")):
        pass


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "a", None, "b"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_output_that_finds_no_room_is_said_in_a_sentence(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise error

    monkeypatch.setattr("flows.cli.options.Options.answer", full)
    monkeypatch.setattr(sys, "argv", ["nepenthe", "status", "--root", str(tmp_path)])
    assert exit_code() == 2
    assert f"expected room to write, found {error}: make some" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "gc", "purge", "verify"])
@pytest.mark.parametrize(("root", "words"), [("nowhere", "found nothing"), ("", "found no name")])
def test_a_mistyped_root_is_no_empty_workspace(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    root: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["nepenthe", command, "--root", root])
    assert exit_code() == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--hold="], "a case of letters"), (["--release="], "a case of letters"), (["--hold=A", "--release=B"], "both")],
)
def test_a_case_that_is_empty_or_ambiguous_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    (tmp_path / "corpus" / f"tiny-{'0' * 16}").mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["nepenthe", "purge", "--yes", *options, "--root", str(tmp_path)])
    assert exit_code() == 2
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_a_store_that_does_not_answer_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unanswered(*_: Any, **__: Any) -> None:
        raise RuntimeError("no credentials")

    monkeypatch.setenv("NEPENTHE_CACHE", str(tmp_path))
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.ls", unanswered)
    monkeypatch.setattr(sys, "argv", ["nepenthe", "status", "--root", "memory://bucket"])
    assert exit_code() == 2
    assert "answers you, found RuntimeError: no credentials" in capsys.readouterr().err
