"""What a shard or a training cost: rows of the table `metrics`, written beside the shards that they are about."""

import socket
import sys
from pathlib import Path
from typing import Any

from storage.shards import write_shard


def write_cost(folder: Path, stage: str, shard: str, tokens: int, seconds: float, batch: int) -> Path:
    """Tokens a second of one shard, on which device, with which micro-batch; GPU memory at its peak since the last."""
    device, memory = _device()
    row = {
        "stage": stage,
        "shard": shard,
        "tokens": tokens,
        "seconds": round(seconds, 3),
        "tokens_per_second": round(tokens / seconds, 1) if seconds else None,
        "gpu_memory_bytes": memory,
        "host": socket.gethostname(),
        "device": device,
        "batch": batch,
    }
    path = folder / f"metrics-{shard}.parquet"
    write_shard(path, [row])
    return path


def _device() -> tuple[str, int | None]:
    torch: Any = sys.modules.get("torch")  # whoever has not loaded it has used no GPU
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return "cpu", None
    memory = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.get_device_name(), memory
