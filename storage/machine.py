"""The machine and the software that make an artifact: part of its record, never of its fingerprint.

Everything is looked up once a process, without torch. A machine without `nvidia-smi` counts as one without GPUs.
"""

import hashlib
import os
import platform
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

PACKAGES = ("nepenthe", "torch", "transformers", "tokenizers", "lm-eval", "duckdb", "pyarrow", "prefect", "numpy")
ROOMS = ("flows", "tasks", "dictionaries", "storage")


@cache
def hardware() -> dict[str, Any]:
    """System, processor, cores that this process may use, memory in GiB, GPUs by name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpus(),
    }


@cache
def software() -> dict[str, str]:
    """Python, the packages that results depend on, and a hash of nepenthe's own source."""
    return versions() | {"nepenthe source": source_hash()}


def versions() -> dict[str, str]:
    """Python and the packages that the results depend on, as installed here."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed


@cache
def source_hash() -> str:
    """SHA-256 over the SHA-256 of every Python file of nepenthe with its name, in the order of the names."""
    root = Path(__file__).parents[1]
    lines = [
        f"{path.relative_to(root).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for room in ROOMS
        for path in sorted((root / room).rglob("*.py"))
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def gpus() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
        lines = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in lines.splitlines() if line.strip()]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
