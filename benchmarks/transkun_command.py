"""Run transkun's own command line as published, with shims for packages that have changed since.

    python benchmarks/transkun_command.py AUDIO MIDI [--device cpu]

It imports `pkg_resources`, which setuptools no longer ships, and torchaudio, whose wheels for Linux need
`aria_data.transcribe.base.allow_torchaudio_on_cpu` beside a CPU build of torch. Nothing else of it is changed.
"""

from __future__ import annotations

import sys
import types
from importlib import resources

from aria_data.transcribe.base import allow_torchaudio_on_cpu


def main() -> None:
    shim = types.ModuleType("pkg_resources")
    shim.resource_filename = lambda package, name: str(resources.files(package.rpartition(".")[0] or package) / name)  # type: ignore[attr-defined]
    sys.modules.setdefault("pkg_resources", shim)
    allow_torchaudio_on_cpu()
    from transkun.transcribe import main as transkun_main

    transkun_main()


if __name__ == "__main__":
    main()
