"""A causal model as hidden states and a projection: logits of chosen positions, in float32, so many at a time.

The one place where hidden states become rows of logits. Its memory is a chunk's, whatever context and vocabulary.
Trap: some architectures scale or cap logits after the projection. Those known are done here, and `check` refuses a
model whose own logits come out differently; `logits_of` then asks such a model itself, a chunk at a time.
"""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from storage.errors import BadInput

PROBE_TOKENS = 16
CHUNK_ELEMENTS = {"cpu": 1 << 23, "cuda": 1 << 27}
"""Elements of one model's full rows held at a time: 32 MiB on the CPU, 512 MiB on a GPU, in float32."""
TILE_ELEMENTS = 1 << 24
"""Of a head that is not float32, as float32 on the CPU: so many at a time, 64 MiB."""


class Projector:
    """Hidden states of blocks, and their rows of logits."""

    def __init__(self, model: Any) -> None:
        self._model = model
        head = model.get_output_embeddings()
        weight_VH = head.weight.detach()
        self._weight_VH = weight_VH.full_tensor() if hasattr(weight_VH, "full_tensor") else weight_VH  # of a rank
        self._bias_V = head.bias.detach().float() if getattr(head, "bias", None) is not None else None
        self.chunk_rows = rows_at_a_time(self._weight_VH.device, self.vocabulary)

    @property
    def vocabulary(self) -> int:
        """V."""
        return int(self._weight_VH.shape[0])

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self._model.device
        return device

    @torch.no_grad()
    def hidden(self, ids_BT: Tensor, visible_B1TT: Tensor | None = None, positions_BT: Tensor | None = None) -> Tensor:
        """Last hidden states [B, T, H]. Padding stands on the right, where causal attention never looks.

        Who sees whom, and where it stands, are the model's own, or given: `visible_B1TT` is true where it does.
        """
        given = {}
        if visible_B1TT is not None and positions_BT is not None:
            hides = torch.zeros(visible_B1TT.shape, dtype=self._model.dtype).masked_fill(~visible_B1TT, -torch.inf)
            given = {"attention_mask": hides.to(self.device), "position_ids": positions_BT.to(self.device)}
        states: Tensor = self._model.base_model(ids_BT.to(self.device), use_cache=False, **given).last_hidden_state
        return states

    @torch.no_grad()
    def rows(self, hidden_RH: Tensor) -> Tensor:
        """Logits [R, V] in float32."""
        return finished(self._projected(hidden_RH), self._model.config)

    def _projected(self, hidden_RH: Tensor) -> Tensor:
        """The head's product. Factors of 16 bits have exact products in float32, so sums alone are rounded."""
        weight_VH, bias_V = self._weight_VH, self._bias_V
        if weight_VH.dtype == torch.float32:
            return torch.nn.functional.linear(hidden_RH.float(), weight_VH, bias_V)
        if weight_VH.is_cuda:
            logits_RV: Tensor = torch.mm(hidden_RH.to(weight_VH.dtype), weight_VH.T, out_dtype=torch.float32)
        else:
            logits_RV = torch.empty(len(hidden_RH), self.vocabulary)
            tile = max(1, TILE_ELEMENTS // weight_VH.shape[1])
            for tile_RV, part_VH in zip(torch.split(logits_RV, tile, 1), torch.split(weight_VH, tile), strict=True):
                tile_RV.copy_(hidden_RH.float() @ part_VH.float().T)
        return logits_RV if bias_V is None else logits_RV.add_(bias_V)

    def logits(self, ids_BT: Tensor, places_R: Tensor) -> Iterator[Tensor]:
        """Logits of the places row * T + position of a padded batch, at most `chunk_rows` a time."""
        hidden_RH = self.hidden(ids_BT).flatten(0, 1)[places_R.to(self.device)]
        return map(self.rows, torch.split(hidden_RH, self.chunk_rows))

    @torch.no_grad()
    def check(self, ids: Sequence[int]) -> None:
        """Raise BadInput unless this projection gives the model's own logits, up to its precision."""
        probe_BT = torch.tensor([ids[:PROBE_TOKENS]], device=self.device)
        own = self._model(probe_BT, use_cache=False).logits[0].float()
        ours = self.rows(self.hidden(probe_BT)[0])
        tolerance = 1e-3 if self._model.dtype == torch.float32 else 3e-2
        if own.shape != ours.shape or (own - ours).abs().max() > tolerance * own.abs().max().clamp(min=1.0):
            raise BadInput(
                f"expected logits that are the hidden states times the output embeddings, found others in "
                f"{type(self._model).__name__}: its architecture changes logits in a way that nepenthe does not know"
            )


def finished(logits_RV: Tensor, config: Any) -> Tensor:
    """What an architecture does to its logits after the projection: a scale, a cap."""
    config = config.get_text_config()
    scale = getattr(config, "logit_scale", None) or 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    if scale != 1.0:
        logits_RV = logits_RV * scale
    return torch.tanh(logits_RV / cap) * cap if cap else logits_RV


class OwnLogits:
    """Rows of logits as the model itself gives them, of any causal model: a pass a chunk and block, so slower."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._selects = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.chunk_rows = rows_at_a_time(model.device, model.config.get_text_config().vocab_size)

    def logits(self, ids_BT: Tensor, places_R: Tensor) -> Iterator[Tensor]:
        """As `Projector.logits`; a model that cannot select positions holds one block's rows whole."""
        for chunk_R in torch.split(places_R, self.chunk_rows):
            row_R, position_R = chunk_R // ids_BT.shape[1], chunk_R % ids_BT.shape[1]
            rows, counts = torch.unique_consecutive(row_R, return_counts=True)
            parts = zip(rows.tolist(), torch.split(position_R, counts.tolist()), strict=True)
            yield torch.cat([self._of_block(ids_BT[row : row + 1], positions) for row, positions in parts])

    @torch.no_grad()
    def _of_block(self, ids_1T: Tensor, positions_R: Tensor) -> Tensor:
        ids_1T, positions_R = ids_1T.to(self._model.device), positions_R.to(self._model.device)
        if self._selects:
            selected: Tensor = self._model(ids_1T, use_cache=False, logits_to_keep=positions_R).logits[0]
            return selected.float()
        whole: Tensor = self._model(ids_1T, use_cache=False).logits[0]
        return whole[positions_R].float()


_OWN: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
"""Whether a model in memory has logits that `Projector` does not know."""


def logits_of(model: Any) -> Projector | OwnLogits:
    """What gives the model's rows of logits: the projection where it is the model's own, else the model itself."""
    if model not in _OWN:
        try:
            Projector(model).check(range(PROBE_TOKENS))
            _OWN[model] = False
        except (AttributeError, BadInput, RuntimeError):  # another head, another form of its weights
            _OWN[model] = True
    return OwnLogits(model) if _OWN[model] else Projector(model)


def rows_at_a_time(device: torch.device, vocabulary: int) -> int:
    """Rows of a chunk, at least one."""
    return max(1, CHUNK_ELEMENTS["cpu" if device.type == "cpu" else "cuda"] // vocabulary)


def padded(sequences: Sequence[Any], behind: int = 0) -> Tensor:
    """Ids [B, T], with zeros or other ids behind them."""
    tensors = [torch.tensor(ids, dtype=torch.long) for ids in sequences]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=behind)
