"""The plan: what a job of any size will cost, and on how many GPUs its trainings find room."""

import json
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from flows.cli import exit_code
from flows.cli.outcomes import plan_table
from flows.fleet import CARDS, GPU_BYTES, H200, Card, Size, beside_bytes, fits, training_bytes
from flows.inputs import resolve
from flows.job import Job, read_job
from flows.plan import cost, tokens_of
from flows.speed import SECONDS, _rate, free_memory, this_machine
from flows.unlearn import plan
from storage.workspace import Workspace
from tasks.engine.stage import Placement
from tasks.models import half_step_of_bfloat16
from tasks.texts import CorpusFiles
from tasks.training.settings import StudentSettings

LLAMA_7B = {"hidden": 4096, "layers": 32, "inner": 11008, "keys": 4096}
LLAMA_70B = {"hidden": 8192, "layers": 80, "inner": 28672, "keys": 1024}
TARGET_TOKENS = 3_100_000
GIB = 2**30
Rows = dict[str, dict[str, Any]]


@pytest.fixture
def planned(
    make_job: Callable[..., Path], tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list[dict[str, Any]], str]]:
    """The plan of a job on a model of a given shape, with the paper's settings and a target of 3.1 million tokens."""

    def make(shape: dict[str, int], *changes: str, card: Card = H200) -> tuple[list[dict[str, Any]], str]:
        monkeypatch.setattr(
            "flows.plan.tokens_of",
            lambda files, *how: TARGET_TOKENS if isinstance(files, CorpusFiles) else tokens_of(files, *how),
        )
        lines = [line for line in make_job().read_text().splitlines() if line.split(" ")[0] in KEPT]
        job = tmp_path / "large.toml"
        job.write_text("\n".join(lines) + f'\nmodel = "{model_of(tmp_path / "large", shape, tiny_model)}"\n')
        workspace = Workspace(tmp_path / "ws")
        asked = read_job(job, list(changes))
        given = resolve(asked, workspace.hashes)
        rows = cost(plan(asked, given, workspace), asked, given, card)
        return rows, plan_table(rows)

    return make


KEPT = ("name", "corpus.paths", "dictionary.curated")


def model_of(folder: Path, shape: dict[str, int], tokenizer: Path) -> Path:
    """A model directory of Llama's shape whose weight files are nothing but their headers."""
    shutil.copytree(tokenizer, folder, dirs_exist_ok=True)
    (folder / "model.safetensors").unlink()
    hidden, inner, keys = shape["hidden"], shape["inner"], shape["keys"]
    config = {"vocab_size": 32000, "hidden_size": hidden, "num_hidden_layers": shape["layers"]}
    config |= {"model_type": "llama", "num_attention_heads": hidden // 128, "num_key_value_heads": keys // 128}
    (folder / "config.json").write_text(json.dumps(config))
    write_header(folder / "ends.safetensors", {"embed": (32000, hidden), "head": (32000, hidden), "norm": (hidden,)})
    square, narrow, wide = (hidden, hidden), (keys, hidden), (inner, hidden)
    layer = {"q": square, "k": narrow, "v": narrow, "o": square, "gate": wide, "up": wide, "down": wide}
    for number in range(shape["layers"]):
        write_header(folder / f"layer-{number:02d}.safetensors", layer | {"a": (hidden,), "b": (hidden,)})
    return folder


def write_header(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    header = {name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]} for name, shape in tensors.items()}
    written = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(written)) + written)


def by_stage(rows: list[dict[str, Any]]) -> Rows:
    return {row["stage"]: row for row in rows}


def test_the_papers_model_costs_what_the_method_says(planned: Callable[..., Any]) -> None:
    """METHOD.md 7: 849 PFLOP for 7B, of which reinforcement takes 44 %, unlearning 46 %, each logits pass 5 %."""
    rows, shown = planned(LLAMA_7B)
    total = sum(row["flops"] for row in rows)
    assert total / 1e15 == pytest.approx(849, rel=0.02)
    shares = {stage: row["flops"] / total for stage, row in by_stage(rows).items()}
    assert shares["reinforce"] == pytest.approx(0.44, abs=0.01)
    assert shares["student"] == pytest.approx(0.46, abs=0.01)
    assert shares["logits"] == pytest.approx(0.10, abs=0.01)
    assert sum(row["gpu_hours"] for row in rows) * 60 == pytest.approx(28, rel=0.05)
    assert "GPUs" not in shown.splitlines()[2]  # one is enough, if it takes fewer blocks at a time
    assert "The trainings fit 1 GPU: placement.ranks = 1, placement.micro_batch = 2." in shown


def test_seventy_billion_parameters_take_two_machines_of_eight(planned: Callable[..., Any]) -> None:
    """16 bytes a parameter are 1,028 GiB: 8 GPUs of 139 GiB have room for the numbers alone, not for working."""
    rows, shown = planned(LLAMA_70B)
    found = by_stage(rows)
    student = found["student"]
    assert student["gpus"] == found["reinforce"]["gpus"] == 16
    parameters = student["disk_bytes"] / 7 / 4  # seven kept steps in float32
    assert parameters == pytest.approx(68.98e9, rel=1e-3)
    assert parameters * 16 / 16 < student["gpu_bytes"] < 0.9 * GPU_BYTES
    assert student["gpu_hours"] == pytest.approx(6 * parameters * 150 * 128 * 512 / (0.5 * 989e12) / 3600, rel=1e-3)
    assert student["hours"] == pytest.approx(student["gpu_hours"] / 16)
    assert "The trainings fit 16 GPUs: placement.ranks = 8, placement.micro_batch = 2, placement.nodes = 2, " in shown
    assert 'placement.rendezvous = "FIRST_HOST:PORT", placement.sharded = true.' in shown
    for stage in ("logits", "evaluation"):  # which divide the models over the eight ranks of one machine
        assert found[stage]["fits"]
        assert found[stage]["gpus"] == 8
        assert found[stage]["hours"] == pytest.approx(found[stage]["gpu_hours"] / 8)
    assert 2 * parameters * 2 / 8 < found["logits"]["gpu_bytes"] < 0.4 * GPU_BYTES
    assert "GPUs" in shown.splitlines()[2]


def test_a_placement_that_suffices_is_planned_as_it_is(planned: Callable[..., Any]) -> None:
    placement = 'placement={ranks=8, nodes=4, sharded=true, rendezvous="first:29400", micro_batch=4}'
    rows, shown = planned(LLAMA_70B, placement)
    assert by_stage(rows)["student"]["gpus"] == 32
    assert "The trainings" not in shown


def test_batches_that_cannot_be_shared_so_widely_are_told(planned: Callable[..., Any]) -> None:
    rows, shown = planned(LLAMA_70B, "student.batch=4")
    assert "no room on any number of GPUs that divides their batches" in shown
    assert by_stage(rows)["student"]["gpus"] == 1


@pytest.mark.parametrize("exponent", [-9, -6, -3])
def test_half_a_step_of_bfloat16_is_what_a_weight_must_move_by(tmp_path: Path, exponent: int) -> None:
    """Against torch's own rounding to the nearest."""
    weights = {"w": torch.full((4, 4), 1.25 * 2.0**exponent).bfloat16(), "norm": torch.ones(4).bfloat16()}
    save_file(weights, tmp_path / "model.safetensors")
    half = half_step_of_bfloat16(tmp_path)
    for share, moves in ((0.99, False), (1.01, True)):
        moved = (weights["w"].float() + share * half).bfloat16()
        assert torch.equal(moved, weights["w"]) is not moves
    save_file({name: weight.float() for name, weight in weights.items()}, tmp_path / "model.safetensors")
    assert half_step_of_bfloat16(tmp_path) == 0


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ((), True),  # the paper's: 150 steps at 1e-6 by a linear schedule reach 7.5e-5
        (('student.schedule="constant"',), False),
        (("student.learning_rate=2e-6",), False),
    ],
)
def test_updates_that_bfloat16_would_round_away_are_told(
    planned: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, changes: tuple[str, ...], lost: bool
) -> None:
    monkeypatch.setattr("flows.plan.half_step_of_bfloat16", lambda folder: 1e-4)
    _, shown = planned(LLAMA_7B, *changes)
    assert ("most of what is learned is lost" in shown) is lost


def test_a_rate_that_was_never_measured_at_this_size_is_told(planned: Callable[..., Any]) -> None:
    assert "never measured" not in planned(LLAMA_7B)[1]
    told = (
        "student.learning_rate 1e-05 was never measured on a model of about 6.74e+03 M parameters (1e-06 to 1e-06 was"
    )
    assert told in planned(LLAMA_7B, "student.learning_rate=1e-5")[1]
    assert "M parameters (no rate was" in planned(LLAMA_70B)[1]


def test_a_control_that_is_not_there_yet_and_labels_of_retained_text_have_their_cost(
    planned: Callable[..., Any], tmp_path: Path, tiny_model: Path
) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("The old baker closed his door, and in the town the lamps were lit.\n" * 2000)
    retained = (f'retain.paths=["{kept}"]', "student.retain=0.5", 'retain.labels="baseline"')
    rows, shown = planned(LLAMA_7B, *retained, "control.epochs=2", "control.batch=8")
    found = by_stage(rows)
    control, labels = found["gold"], found["retained_labels"]
    tokens = len(Tokenizer.from_file(str(tiny_model / "tokenizer.json")).encode(kept.read_text()).ids)
    assert labels["tokens"] == pytest.approx(tokens, rel=0.01)
    parameters = found["student"]["disk_bytes"] / 7 / 4
    assert labels["flops"] == pytest.approx(2 * parameters * labels["tokens"], rel=1e-3)
    assert labels["gpu_bytes"] > 2 * parameters
    assert control["tokens"] == pytest.approx(2 * labels["tokens"], rel=0.05), "two passes"
    assert control["flops"] == pytest.approx(6 * parameters * control["tokens"], rel=1e-3)
    assert control["gpu_bytes"] > 16 * parameters
    assert control["seconds"] > 0
    (line,) = [line for line in shown.splitlines() if line.startswith("gold ")]
    assert "if wanted" in line
    total = sum(row["flops"] for row in rows if row["stage"] != "gold") / 1e15
    assert f"({total:.3g} PFLOP)" in shown, "it is no part of the job"
    assert "gold" not in by_stage(planned(LLAMA_7B, *retained, f'gold="{tmp_path / "large"}"')[0])
    unshared = by_stage(planned(LLAMA_70B, *retained, "control.batch=5")[0])
    assert unshared["gold"]["gpus"] > 1, "a control that these ranks cannot share refuses no plan"


def test_hardening_learns_every_batch_twice(planned: Callable[..., Any]) -> None:
    plain, hardened = (by_stage(planned(LLAMA_7B, *changes)[0]) for changes in ((), ("student.hardening=3",)))
    assert hardened["student"]["flops"] == 2 * plain["student"]["flops"]
    assert hardened["reinforce"]["flops"] == plain["reinforce"]["flops"]


@pytest.mark.parametrize(
    ("how", "expected"),
    [({"hardening": 3}, 8), ({"hardening": 3, "memory": "split"}, 4), ({"retain": 0.5, "null_space": 0.5}, 4), ({}, 0)],
)
def test_memory_of_a_student_counts_what_it_holds_besides(how: dict[str, Any], expected: float) -> None:
    assert beside_bytes(StudentSettings(**how)) == expected


def test_legs_of_a_training_that_stops_early_add_up_to_the_whole(planned: Callable[..., Any]) -> None:
    (whole,) = (row for row in planned(LLAMA_7B)[0] if row["stage"] == "student")
    rows, _ = planned(LLAMA_7B, "stop.familiarity=0.02", "stop.early=true")
    legs = [row for row in rows if row["stage"] == "student"]
    assert [round(leg["tokens"] / 128 / 512) for leg in legs] == [20, 20, 20, 20, 20, 20, 30]
    assert sum(leg["flops"] for leg in legs) == pytest.approx(whole["flops"])
    model = whole["disk_bytes"] / 7
    assert [leg["disk_bytes"] for leg in legs] == [pytest.approx(4 * model)] * 6 + [pytest.approx(model)]


def test_replicated_ranks_hold_all_of_the_model_and_sharded_ones_a_share(make_job: Callable[..., Path]) -> None:
    size = Size(parameters=8_000_000_000, vocabulary=32_000, hidden=4096, layers=32, tokens=1)
    one, eight = Placement(micro_batch=1), Placement(ranks=8, micro_batch=1)
    sharded = [Placement(ranks=ranks, sharded=True, micro_batch=1) for ranks in (2, 4, 8)]
    shares = [training_bytes(fleet, StudentSettings(), 512, size) for fleet in sharded]
    whole = training_bytes(one, StudentSettings(), 512, size)
    assert whole > 16 * size.parameters
    assert training_bytes(eight, StudentSettings(), 512, size) == whole + 4 * size.parameters
    assert shares[0] - shares[1] == pytest.approx(16 * size.parameters / 4)
    assert shares[1] - shares[2] == pytest.approx(16 * size.parameters / 8)
    job = read_job(make_job(), ["student.batch=128", "reinforce.batch=128", "blocks.length=512"])
    assert isinstance(job, Job)
    assert not fits(one, job, size)
    assert fits(sharded[-1], job, size)


def test_seven_billion_parameters_fit_a_card_of_80_gb_in_bfloat16_with_layers_computed_anew(
    planned: Callable[..., Any],
) -> None:
    compact, anew = ("reinforce.memory=split", "student.memory=split"), ("placement.recompute=true",)
    told = {changes: planned(LLAMA_7B, *changes, card=CARDS["h100"])[1] for changes in (compact + anew, compact, anew)}
    assert "The trainings fit" not in told[compact + anew]  # as the job has it, 8 blocks at a time
    assert "The trainings fit 1 GPU: placement.ranks = 1, placement.micro_batch = 2." in told[compact]
    assert "The trainings fit 2 GPUs" in told[anew]


LAPTOP = Card("a laptop", 139 * GIB, training=1e12, forward=2e12, generation=1e11, number=1, is_gpu=False, start=3.0)


def test_this_machines_speed_and_memory_decide_where_it_is_meant(planned: Callable[..., Any]) -> None:
    rows, shown = planned(LLAMA_7B, card=LAPTOP)
    stages = by_stage(rows)
    assert stages["student"]["seconds"] == pytest.approx(stages["student"]["flops"] / 1e12 + 3)
    assert stages["logits"]["seconds"] == pytest.approx(stages["logits"]["flops"] / 2e12 + 3)
    assert {row["device"] for row in rows} == {"a laptop"}
    assert shown.startswith("a laptop, 139 GiB\n")
    assert "H200" not in shown
    assert "The trainings fit this machine: placement.ranks = 1, placement.micro_batch = 2." in shown
    assert all(row["fits"] for row in rows)


def test_what_does_not_fit_this_machine_is_said(planned: Callable[..., Any]) -> None:
    rows, shown = planned(LLAMA_70B, card=LAPTOP)
    fitting = {row["stage"]: row["fits"] for row in rows}
    assert not any(fitting[stage] for stage in ("reinforce", "student", "logits", "evaluation"))
    assert fitting["blocks"]
    assert "The trainings find no room on up to 1 of this machine's devices, with any placement.micro_batch" in shown
    assert "logits holds whole models in memory" in shown


def test_a_subject_that_is_asked_about_is_planned(planned: Callable[..., Any]) -> None:
    rows, _ = planned(LLAMA_7B, 'corpus.elicit={subject="Mira", names=["Mira", "Orrin"], rounds=2, growth=3, times=2}')
    elicited = by_stage(rows)["elicit"]
    assert elicited["tokens"] == (2 + 3) * 4 * 2 * 300
    assert elicited["seconds"] > 0
    assert by_stage(rows)["blocks"]["tokens"] == TARGET_TOKENS + elicited["tokens"]


def test_a_measurement_grows_as_long_as_there_is_time_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that only the work turns: a machine of 1,000 tokens a second, and one that is far too slow."""
    clock, sizes = [0.0], list[int]()
    monkeypatch.setattr("flows.speed.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    layer = SimpleNamespace(device=torch.device("cpu"))

    def at(speed: float) -> Callable[[Any], None]:
        def work(ids: Any) -> None:
            sizes.append(ids.shape[1])
            clock[0] += ids.numel() / speed

        return work

    assert _rate(at(1000), rows=8, length=512, layer=layer) == pytest.approx(1000)
    assert sizes == [8, 16, 32, 32]  # 64, 128 and twice 256 ms: no room for 512
    assert clock[0] < SECONDS
    assert _rate(at(1), rows=8, length=512, layer=layer) == pytest.approx(1)


def test_this_machine_is_measured_for_the_jobs_model(make_job: Callable[..., Path], tmp_path: Path) -> None:
    job = read_job(make_job(), [])
    card = this_machine(job, resolve(job, Workspace(tmp_path / "ws").hashes))
    assert card.name.startswith("CPU, ")
    assert not card.is_gpu
    assert card.number == 1
    assert min(card.training, card.forward, card.generation, card.memory) > 0


def test_free_memory_is_what_a_control_group_leaves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit, used = tmp_path / "max", tmp_path / "current"
    monkeypatch.setattr("flows.speed.CONTROL_GROUPS", ((limit, used),))
    unlimited = free_memory()
    limit.write_text("max\n")
    used.write_text("1000\n")
    assert free_memory() > 10_000
    limit.write_text("11000\n")
    assert free_memory() == 10_000 < unlimited


def test_a_plan_is_for_this_machine_unless_a_card_is_named(
    make_job: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = make_job()

    def planned(root: str, *how: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nepenthe", "plan", str(job), "--root", root, *how])
        return exit_code(), *capsys.readouterr()

    _, shown, _ = planned("/proc/nowhere")  # it writes nothing but hashes, which it can do without
    assert shown.startswith("CPU, ")
    assert "H200" not in shown
    assert "0 of " in shown
    code, shown, _ = planned(str(tmp_path), "--card", "h200")
    assert (code, shown[:30]) == (0, "H200 by its datasheet, 139 GiB")
    code, _, refused = planned(str(tmp_path), "--card", "tpu")
    assert code == 2
    assert "--card: expected h200 or h100, found 'tpu'" in refused
