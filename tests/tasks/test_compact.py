"""AdamW in bfloat16: beside torch's in float32, and what it holds."""

import pytest
import torch
from torch import Tensor

from tasks.method.rounding import joined, split
from tasks.training.compact import CompactAdamW

BETAS, EPS, DECAY, STEPS = (0.9, 0.98), 1e-8, 0.1, 50


def taught(optimizer: type[torch.optim.Optimizer], rate: float, **how: bool) -> tuple[Tensor, torch.optim.Optimizer]:
    """A thousand weights of about 0.02 on the grid of bfloat16, behind steps whose gradients change."""
    chance = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter((0.02 * torch.randn(1000, generator=chance)).bfloat16().float())
    teacher = optimizer([weight], lr=rate, betas=BETAS, eps=EPS, weight_decay=DECAY, **how)  # type: ignore[call-arg]
    slope = torch.randn(1000, generator=chance)
    for _ in range(STEPS):
        noise = torch.randn(1000, generator=chance)
        weight.grad = (slope + noise).to(weight.dtype)
        teacher.step()
    return weight, teacher


def test_a_split_weight_is_joined_to_the_last_bit_and_its_half_is_the_nearest() -> None:
    bits = torch.randint(-(2**31), 2**31 - 1, (100_000,), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    whole = bits.view(torch.float32)
    whole = whole[whole.abs() < 1e38]
    weight, rest = split(whole)
    assert torch.equal(joined(weight, rest).view(torch.int32), whole.view(torch.int32))
    assert torch.equal((weight.float() - whole).abs(), (whole.bfloat16().float() - whole).abs())


@pytest.mark.parametrize("rate", [1e-6, 1e-3])
def test_split_weights_lose_nothing_and_go_where_float32_takes_them(rate: float) -> None:
    expected = taught(torch.optim.AdamW, rate)[0].detach()
    weight, optimizer = taught(CompactAdamW, rate)
    start = taught(torch.optim.AdamW, 0.0)[0].detach()
    whole = joined(weight.detach(), optimizer.state[weight]["rest"])
    assert float((whole - expected).norm() / (expected - start).norm()) < 0.03


def test_most_small_steps_are_in_the_rest_alone() -> None:
    start, weight = taught(torch.optim.AdamW, 0.0)[0], taught(CompactAdamW, 1e-6)[0]
    assert float((weight.float() == start).float().mean()) > 0.5


@pytest.mark.parametrize(("how", "held"), [({}, 10), ({"stochastic": True}, 8)])
def test_bytes_a_parameter(how: dict[str, bool], held: int) -> None:
    weight, optimizer = taught(CompactAdamW, 1e-4, **how)
    assert weight.grad is not None
    tensors = [weight, weight.grad, *(tensor for name, tensor in optimizer.state[weight].items() if name != "step")]
    assert sum(tensor.nbytes for tensor in tensors) == held * weight.numel()


def test_chance_keeps_in_the_mean_what_the_nearest_would_take_back() -> None:
    start, expected = (taught(torch.optim.AdamW, rate)[0].detach() for rate in (0.0, 1e-5))
    weight, update = taught(CompactAdamW, 1e-5, stochastic=True)[0].detach().float(), expected - start
    assert float((weight - start) @ update / (update @ update)) == pytest.approx(1, abs=0.2)
