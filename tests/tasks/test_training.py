"""Trainings: the effective batch is meaning, its split is not; what is killed goes on, on whatever ranks there are."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from storage.artifact import Artifact
from storage.errors import BadInput, ChildDied, TrainingDiverged
from storage.files import Hashes
from storage.shards import read_shard, write_shard
from storage.workspace import Workspace
from tasks.engine.stage import Context, Placement
from tasks.models import find_model
from tasks.training.adapters import add_adapters
from tasks.training.checkpoint import last_checkpoint
from tasks.training.examples import Examples, order_of
from tasks.training.ranks import train
from tasks.training.settings import Schedule, Training, TrainingSpec, split, steps_of_epochs

STEPS = 6
TWO = {"ranks": 2, "micro_batch": 1}  # and two such before every optimizer step
SHARDED = TWO | {"sharded": True}
Weights = dict[str, torch.Tensor]


class School:
    """Trains the tiny model on ten blocks, in a folder of its own for every name."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root = root
        self.model = find_model(model, Hashes(root / "hashes.json"))
        self.data = root / "examples.arrow"
        write_examples(self.data)

    def train(self, name: str, steps: int = STEPS, until: int | None = None, **how: Any) -> list[float]:
        """The loss of every step."""
        changes = {
            key: how.pop(key) for key in ("learning_rate", "max_grad_norm", "precision", "memory", "lora") if key in how
        }
        settings = Training(**{"learning_rate": 1e-2, "batch": 4, "precision": "float32"} | changes)
        schedule = Schedule(steps, {2: "early", steps: "last"}, until)
        history = train(TrainingSpec(self.context_of(name, **how), self.model, self.data, settings, schedule))
        return [entry["loss"] for entry in history if "loss" in entry]

    def context_of(self, name: str, **how: Any) -> Context:
        placement = Placement(**{"device": "cpu", "checkpoint_seconds": 1e9} | how)
        made = Artifact("student", name, "00000000")
        workspace = Workspace(self.root)
        return Context(workspace.resume(made), workspace, made, placement)

    def folder(self, name: str) -> Path:
        return self.context_of(name).folder

    def weights(self, name: str, kept: str = "last") -> Weights:
        return load_file(self.folder(name) / "steps" / kept / "model.safetensors")


def write_examples(path: Path) -> None:
    """Ten blocks of different lengths, a third of their positions without a label."""
    chance = np.random.default_rng(0)
    rows = []
    for length in chance.integers(8, 24, 10):
        labels = np.where(chance.random(length) < 0.3, -100, chance.integers(2, 300, length))
        rows.append({"input_ids": chance.integers(2, 300, length).tolist(), "labels": [*labels[:-1].tolist(), -100]})
    schema = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))])
    write_shard(path, pa.Table.from_pylist(rows, schema))


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> School:
    return School(tmp_path_factory.mktemp("school"), tiny_model)


@pytest.fixture(scope="module")
def undisturbed(school: School) -> tuple[list[float], Weights]:
    """Losses and last weights of one process that nothing disturbed."""
    return school.train("undisturbed"), school.weights("undisturbed")


def same(found: Weights, expected: Weights) -> bool:
    """Up to the rounding of sums in another order, which Adam blows up where a gradient is nearly nothing."""
    assert found.keys() == expected.keys()
    return all(torch.allclose(found[name], expected[name], atol=2e-4, rtol=0) for name in expected)


def test_every_pass_draws_every_block_once_and_batches_reach_across_passes() -> None:
    order = order_of(10, 24, seed=0)
    assert sorted(order[:10]) == sorted(order[10:20]) == list(range(10))
    assert list(order[:10]) != list(order[10:20])
    assert len(order) == 24
    assert list(order_of(10, 12, seed=0)) == list(order[:12])  # a shorter training is the beginning of a longer one
    assert list(order_of(10, 24, seed=1)) != list(order)


@pytest.mark.parametrize(("blocks", "epochs", "batch", "steps"), [(161, 3, 32, 16), (10, 1, 5, 2), (3, 0.1, 128, 1)])
def test_epochs_count_blocks_and_not_small_batches(blocks: int, epochs: float, batch: int, steps: int) -> None:
    assert steps_of_epochs(blocks, epochs, batch) == steps


@pytest.mark.parametrize(
    ("ranks", "nodes", "limit", "expected"), [(1, 1, 8, (8, 16)), (4, 1, 5, (4, 8)), (8, 2, 8, (8, 1)), (3, 1, 8, None)]
)
def test_ranks_share_the_batch_exactly_or_are_refused(
    ranks: int, nodes: int, limit: int, expected: tuple[int, int] | None
) -> None:
    placement = Placement(ranks=ranks, nodes=nodes, micro_batch=limit, rendezvous="first:29400")
    if expected:
        assert split(Training(learning_rate=1e-6), placement) == expected
    else:
        with pytest.raises(BadInput, match="divides a batch of 128 blocks, found 3"):
            split(Training(learning_rate=1e-6), placement)


def test_several_machines_need_a_place_to_meet() -> None:
    with pytest.raises(BadInput, match=r"expected placement\.rendezvous, host:port"):
        split(Training(learning_rate=1e-6), Placement(nodes=2))


@pytest.mark.parametrize("how", [{"memory": "split"}, {"lora": 8}])
def test_weights_that_ranks_cannot_share_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r'placement\.sharded: expected memory "float32", lora 0 and null_space 0'):
        split(Training(learning_rate=1e-6, **how), Placement(sharded=True, ranks=2))


def test_a_torn_checkpoint_is_passed_over_and_removed(tmp_path: Path) -> None:
    for step in (9, 10, 11):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}" / "WHOLE").touch()
    found = last_checkpoint(tmp_path)
    assert found
    assert found.name == "checkpoint-10"
    assert not (tmp_path / "checkpoint-11").exists()


@pytest.mark.slow
@pytest.mark.parametrize("micro", [1, 2])
def test_another_micro_batch_gives_the_same_weights(
    school: School, undisturbed: tuple[list[float], Weights], micro: int
) -> None:
    losses, weights = undisturbed
    assert school.train(f"micro-{micro}", micro_batch=micro) == pytest.approx(losses, abs=1e-4)
    assert same(school.weights(f"micro-{micro}"), weights)


@pytest.mark.slow
def test_a_step_is_the_mean_over_the_labels_of_exactly_its_blocks(
    school: School, undisturbed: tuple[list[float], Weights]
) -> None:
    """The first loss, by hand, from the untrained model."""
    from tasks.models import load_model

    examples, model = Examples(school.data, 4, seed=0), load_model(school.model.path)
    total, labelled = 0.0, 0
    for block in (examples[draw] for draw in range(4)):
        with torch.no_grad():
            chances = model(torch.from_numpy(block["input_ids"][None].astype(np.int64))).logits[0].log_softmax(-1)
        for position, label in enumerate(block["labels"]):
            if label != -100:
                total, labelled = total - float(chances[position, label]), labelled + 1
    assert undisturbed[0][0] == pytest.approx(total / labelled, abs=1e-4)


@pytest.fixture
def spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which every rank leaves the names of the packages that it has loaded, when it ends."""
    (tmp_path / "sitecustomize.py").write_text(SPY.format(folder=str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


SPY = """
import json, os, pathlib, sys
if "RANK" in os.environ:
    loaded, leave = pathlib.Path({folder!r}, os.environ["RANK"] + ".json"), os._exit
    def left(code):
        loaded.write_text(json.dumps([name.split(".")[0] for name in sys.modules]))
        leave(code)
    os._exit = left  # a rank leaves without the interpreter's teardown
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "how"), [("two", TWO), ("sharded", SHARDED)])
def test_two_ranks_learn_what_one_learns(
    school: School, undisturbed: tuple[list[float], Weights], name: str, how: dict[str, Any], spy: Path
) -> None:
    losses, weights = undisturbed
    assert school.train(name, **how) == pytest.approx(losses, abs=1e-4)
    assert same(school.weights(name), weights)
    folders = [school.folder(which) for which in ("undisturbed", name)]
    files = [sorted(path.relative_to(folder) for path in (folder / "steps").rglob("*")) for folder in folders]
    assert files[0] == files[1]  # whole models at the same steps, and nothing besides
    configs = [(folder / "steps/last/config.json").read_text() for folder in folders]
    assert configs[0] == configs[1]
    steps = [read_shard(folder / "training_steps.parquet") for folder in folders]
    assert steps[0].column("step") == steps[1].column("step")
    assert steps[0].column("grad_norm").to_numpy() == pytest.approx(steps[1].column("grad_norm").to_numpy(), abs=1e-4)
    loaded = [json.loads(path.read_text()) for path in spy.glob("*.json")]
    assert len(loaded) == 2
    assert all("torch" in names and not {"prefect", "flows"} & set(names) for names in loaded)


@pytest.mark.slow
def test_a_paused_training_goes_on_on_other_ranks(school: School, undisturbed: tuple[list[float], Weights]) -> None:
    """From one process to two ranks, to shards, and back to one."""
    losses, weights = undisturbed
    for until, how in ((2, {}), (4, TWO), (5, SHARDED), (None, {"micro_batch": 2})):
        assert school.train("moved", until=until, **how) == pytest.approx(losses[:until], abs=1e-4)
        assert (school.folder("moved") / "steps" / "last").exists() == (until is None)
    assert same(school.weights("moved"), weights)
    assert not (school.folder("moved") / "checkpoints").exists()


@pytest.mark.slow
def test_sharded_master_weights_take_steps_that_bfloat16_would_swallow(school: School) -> None:
    school.train("small-steps", learning_rate=1e-6, precision="bfloat16", **SHARDED)
    before, after = load_file(Path(school.model.path) / "model.safetensors"), school.weights("small-steps")
    name = next(name for name in before if "down_proj" in name)
    moved = (after[name] - before[name]).abs()
    assert moved.max() < 1e-5
    assert (moved > 1e-8).float().mean() > 0.95
    assert (after[name].bfloat16() == before[name].bfloat16()).float().mean() > 0.8  # nothing to see in bfloat16


@pytest.mark.slow
def test_split_weights_learn_what_float32_learns_at_steps_that_bfloat16_would_swallow(school: School) -> None:
    how = {"learning_rate": 1e-6, "precision": "bfloat16"}
    losses, before = school.train("master", **how), load_file(Path(school.model.path) / "model.safetensors")
    master = school.weights("master")
    for name, placement in (("split", {}), ("split-two", TWO)):
        assert school.train(name, memory="split", **how, **placement) == pytest.approx(losses, rel=1e-3)
        for key, start in before.items():
            learned, kept = ((weights[key] - start).flatten() for weights in (master, school.weights(name)))
            assert float((kept - learned).norm() / learned.norm()) < 0.2, (name, key)
    assert json.loads((school.folder("split") / "steps/last/config.json").read_text())["dtype"] == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["split", "stochastic"])
def test_a_compact_training_that_was_paused_ends_where_an_undisturbed_one_does(school: School, memory: str) -> None:
    how = {"learning_rate": 1e-3, "precision": "bfloat16", "memory": memory}
    losses = school.train(f"{memory}-whole", **how)
    assert losses[-1] < losses[0]
    for until in (3, None):
        assert school.train(f"{memory}-paused", until=until, **how) == losses[:until]
    found = school.weights(f"{memory}-paused")
    assert all(torch.equal(found[name], weight) for name, weight in school.weights(f"{memory}-whole").items())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"memory": "stochastic", "learning_rate": 9e-6}, "at least 1e-05 .* found 9e-06: chance would move"),
        ({"memory": "split", "learning_rate": 1e-6, "precision": "float32"}, 'expected precision "bfloat16"'),
    ],
)
def test_memory_that_cannot_hold_what_is_learned_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Training(**changes)


@pytest.mark.slow
def test_layers_computed_anew_change_nothing(school: School, undisturbed: tuple[list[float], Weights]) -> None:
    assert school.train("anew", recompute=True) == undisturbed[0]
    assert same(school.weights("anew"), undisturbed[1])


def test_without_peft_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(BadInput, match=r"expected the package peft, found none: pip install 'nepenthe\[lora\]'"):
        add_adapters(None, 2, 0)


@pytest.mark.slow
def test_adapters_are_saved_as_whole_models_and_go_on_where_they_were(school: School) -> None:
    pytest.importorskip("peft")
    losses = school.train("lora", lora=2)
    before, after = load_file(Path(school.model.path) / "model.safetensors"), school.weights("lora")
    assert before.keys() == after.keys()
    for name, weight in before.items():
        change = after[name] - weight
        if "_proj" in name:
            assert torch.linalg.matrix_rank(change, rtol=1e-3) == 2, name
        else:
            assert not change.any(), name
    for until, how in ((2, {}), (4, TWO), (None, {"micro_batch": 2, "recompute": True})):
        assert school.train("lora-paused", until=until, lora=2, **how) == pytest.approx(losses[:until], abs=1e-4)
    assert same(school.weights("lora-paused"), after)
    compact = school.train("lora-split", lora=2, memory="split", precision="bfloat16")
    assert compact == pytest.approx(school.train("lora-bfloat16", lora=2, precision="bfloat16"), rel=1e-2)


LONG = 40


@pytest.fixture(scope="module")
def long_way(school: School) -> Weights:
    """The last weights of an undisturbed training that takes long enough to be killed."""
    school.train("long", steps=LONG)
    return school.weights("long")


@pytest.mark.slow
def test_a_killed_rank_takes_the_others_with_it_and_the_training_goes_on(school: School, long_way: Weights) -> None:
    gone: list[int] = []

    def kill() -> None:
        wait_for(lambda: checkpoints_of(school.folder("killed")) >= 3)
        gone.extend(ranks_of(os.getpid()))
        os.kill(gone[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ChildDied, match="ended with exit code"):
        school.train("killed", steps=LONG, checkpoint_seconds=0, **TWO)
    killer.join()
    assert len(gone) == 2
    assert not ranks_of(os.getpid())
    done = checkpoints_of(school.folder("killed"))
    assert 3 <= done < LONG
    school.train("killed", steps=LONG)  # the rest alone
    assert same(school.weights("killed"), long_way)
    took = sorted(path.name for path in school.folder("killed").glob("metrics-*.parquet"))
    assert took == [f"metrics-{done:06d}-{LONG:06d}.parquet"]  # and only the rest


CHILD = """
import pathlib, pickle, sys
from tasks.training.ranks import in_ranks
in_ranks(pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()))
"""


@pytest.mark.slow
def test_ranks_leave_nothing_behind_when_their_launcher_is_killed(school: School, long_way: Weights) -> None:
    context, order = school.context_of("orphaned", checkpoint_seconds=0, **TWO), school.root / "order.pickle"
    settings = Training(learning_rate=1e-2, batch=4, precision="float32")
    spec = TrainingSpec(context, school.model, school.data, settings, Schedule(LONG, {LONG: "last"}))
    order.write_bytes(pickle.dumps(spec))
    launcher = subprocess.Popen([sys.executable, "-c", CHILD, str(order)], stderr=subprocess.DEVNULL)
    wait_for(lambda: checkpoints_of(context.folder) >= 3 or launcher.poll() is not None)
    orphans = ranks_of(launcher.pid)
    assert len(orphans) == 2
    launcher.kill()
    launcher.wait()
    wait_for(lambda: not any(alive(pid) for pid in orphans))
    assert 3 <= checkpoints_of(context.folder) < LONG
    school.train("orphaned", steps=LONG)
    assert same(school.weights("orphaned"), long_way)


@pytest.mark.slow
def test_what_a_rank_raises_is_raised_here(school: School) -> None:
    with pytest.raises(TrainingDiverged, match=r"none at step \d of 6; no optimizer step was taken"):
        school.train("diverged", learning_rate=1e30, max_grad_norm=1e30, **TWO)
    assert not list(school.folder("diverged").glob("steps/last"))


@pytest.mark.slow
def test_memory_that_a_rank_lacks_is_missed_here(
    school: School, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank runs out of memory; the other one waits for it and must not be the one that is heard."""
    (tmp_path / "sitecustomize.py").write_text(OUT_OF_MEMORY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(torch.OutOfMemoryError, match="tried to allocate 2 GiB"):
        school.train("hungry", **TWO)


OUT_OF_MEMORY = """
import os, sys
if os.environ.get("RANK") == "1" and "tasks.training.ranks" in " ".join(sys.orig_argv):
    from tasks.training.trainer import TrainingCallback
    import torch
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2:
            raise torch.OutOfMemoryError("tried to allocate 2 GiB")
    TrainingCallback.on_step_begin = on_step_begin
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def joined(port: int, tmp_path: Path) -> Iterator[None]:
    """Another machine, as far as processes can tell: its own launcher, lending one rank."""
    command = [sys.executable, "-m", "tasks.training.ranks", "join", f"127.0.0.1:{port}", "2", "1"]
    elsewhere = os.environ | {"TMPDIR": str(tmp_path)}
    other = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=elsewhere)
    yield
    other.kill()
    other.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("joined")
def test_a_training_spans_two_launchers(school: School, undisturbed: tuple[list[float], Weights], port: int) -> None:
    losses, weights = undisturbed
    assert school.train("nodes", nodes=2, rendezvous=f"127.0.0.1:{port}") == pytest.approx(losses, abs=1e-4)
    assert same(school.weights("nodes"), weights)


def wait_for(what: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def checkpoints_of(folder: Path) -> int:
    """The step of the last whole checkpoint."""
    whole = [path.parent.name for path in (folder / "checkpoints").glob("checkpoint-*/WHOLE")]
    return max((int(name.split("-")[1]) for name in whole), default=0)


def ranks_of(launcher: int) -> list[int]:
    """The processes that a launcher has started, as long as they live."""
    children = Path(f"/proc/{launcher}/task").glob("*/children")
    found = [int(pid) for file in children for pid in file.read_text().split()]
    return [pid for pid in found if alive(pid) and b"tasks.training.ranks" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
