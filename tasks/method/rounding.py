"""A float32 number as bfloat16: by chance, or with all that is left.

Stochastic rounding (Gupta et al. 2015, arXiv:1502.02551) is right in expectation: over many weights a small
update stays.
"""

import torch
from torch import Tensor

LOW_BITS = 16
"""Bits of a float32 that bfloat16 does not have: a number of them is how far up the next bfloat16 is."""


def stochastically_rounded(weight: Tensor, generator: torch.Generator) -> Tensor:
    """A float32 weight in bfloat16: away from zero with the probability of its distance from the value below."""
    bits = weight.contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << LOW_BITS, bits.shape, generator=generator, dtype=torch.int32, device=weight.device)
    cut = ((bits + noise) & -(1 << LOW_BITS)).view(torch.float32)
    return torch.where(weight.isfinite(), cut, weight).to(torch.bfloat16)


def split(whole: Tensor) -> tuple[Tensor, Tensor]:
    """A float32 weight as the nearest bfloat16 and the 16 bits that it is more or less (Kalamkar et al. 2020,
    arXiv:2005.04680), which stand in the form of a bfloat16."""
    bits = whole.view(torch.int32)
    near = (bits + (1 << LOW_BITS - 1)) >> LOW_BITS
    rest = bits - (near << LOW_BITS)
    weight, rest = (half.to(torch.int16).view(torch.bfloat16) for half in (near, rest))
    return weight, rest


def joined(weight: Tensor, rest: Tensor) -> Tensor:
    """The float32 weight that was split, to the last bit."""
    near, more = (half.view(torch.int16).to(torch.int32) for half in (weight, rest))
    return ((near << LOW_BITS) + more).view(torch.float32)
