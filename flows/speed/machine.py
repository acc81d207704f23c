"""What this machine is, as far as it decides how fast a build is, and how busy its GPUs are."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "sve")  # that change the speed of models
QUERY = ("index", "name", "utilization.gpu", "memory.used", "memory.total")
ASKING_S = 10.0  # nvidia-smi may wait for a driver that starts


@functools.cache
def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, its flags, memory, GPUs. Two machines alike give the same."""
    import psutil

    text = _read("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    flags = next((line.split() for line in text.splitlines() if line.startswith(("flags", "Features"))), [])
    gpus = sorted(gpu["name"] for gpu in gpu_use())
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gb": round(psutil.virtual_memory().total / (1 << 30)),
        "gpus": gpus,
        "system": f"{platform.system()} {platform.machine()}",
    }


def is_alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether what was measured on one machine holds for the other: the same processor, cores and GPUs."""
    return all(one.get(name) == other.get(name) for name in ("processor", "cores", "flags", "gpus"))


def described(of: dict[str, Any]) -> str:
    """A machine in a few words: AMD EPYC, 2 cores, 24 GB, no GPU."""
    gpus = of.get("gpus") or []
    shown = f"{len(gpus)} x {gpus[0]}" if gpus else "no GPU"
    return f"{of.get('processor', '?')}, {of.get('cores', '?')} cores, {of.get('memory_gb', '?')} GB, {shown}"


def gpu_use() -> list[dict[str, Any]]:
    """The GPUs of this machine: name, how busy in percent, megabytes used and in all. Empty where there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = [program, f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=ASKING_S)
    except (OSError, subprocess.SubprocessError):
        return []
    lines = answer.stdout.splitlines() if answer.returncode == 0 else []
    return [_gpu(line) for line in lines if line.count(",") == len(QUERY) - 1]


def _gpu(line: str) -> dict[str, Any]:
    index, name, *numbers = (part.strip() for part in line.split(","))
    busy, used, total = (int(number) if number.isdigit() else None for number in numbers)  # "[N/A]" on some
    return {"index": index, "name": name, "busy_percent": busy, "used_mb": used, "memory_mb": total}


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text("utf-8", "replace")
    return ""
