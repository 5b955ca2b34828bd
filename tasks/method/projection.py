"""A causal model as hidden states and a projection: logits of chosen positions only, always in float32.

Trap: some architectures scale or cap logits after the projection. Those known are done here, and `check` refuses a
model whose own logits come out differently.
"""

from typing import Any

import torch
from torch import Tensor

from storage.errors import BadInput

PROBE_TOKENS = 16


class Projector:
    """Hidden states of blocks, and their rows of logits."""

    def __init__(self, model: Any) -> None:
        self._model, self._config = model, model.config
        head = model.get_output_embeddings()
        self._weight_VH = head.weight.detach().float()
        self._bias_V = head.bias.detach().float() if getattr(head, "bias", None) is not None else None

    @property
    def vocabulary(self) -> int:
        """V."""
        return int(self._weight_VH.shape[0])

    @torch.no_grad()
    def hidden(self, blocks: list[list[int]]) -> list[Tensor]:
        """Last hidden states [T, H] of each block. Padding stands on the right, where causal attention never looks."""
        longest = max(map(len, blocks))
        padded = torch.zeros(len(blocks), longest, dtype=torch.long)
        for row, ids in enumerate(blocks):
            padded[row, : len(ids)] = torch.tensor(ids)
        states = self._model.base_model(padded.to(self._model.device), use_cache=False).last_hidden_state
        return [states[row, : len(ids)] for row, ids in enumerate(blocks)]

    @torch.no_grad()
    def rows(self, hidden_RH: Tensor) -> Tensor:
        """Logits [R, V] in float32."""
        return finished(torch.nn.functional.linear(hidden_RH.float(), self._weight_VH, self._bias_V), self._config)

    @torch.no_grad()
    def check(self, ids: list[int]) -> None:
        """Raise BadInput unless this projection gives the model's own logits, up to its precision."""
        probe = ids[:PROBE_TOKENS]
        own = self._model(torch.tensor([probe], device=self._model.device), use_cache=False).logits[0].float()
        ours = self.rows(self.hidden([probe])[0])
        tolerance = 1e-3 if self._model.dtype == torch.float32 else 3e-2
        if own.shape != ours.shape or (own - ours).abs().max() > tolerance * own.abs().max().clamp(min=1.0):
            raise BadInput(
                f"expected logits that are the hidden states times the output embeddings, found others in "
                f"{type(self._model).__name__}: its architecture changes logits in a way that nepenthe does not know"
            )


def finished(logits_RV: Tensor, config: Any) -> Tensor:
    """What an architecture does to its logits after the projection: a scale, a cap."""
    scale = getattr(config, "logit_scale", None) or 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    if scale != 1.0:
        logits_RV = logits_RV * scale
    return torch.tanh(logits_RV / cap) * cap if cap else logits_RV
