"""Backends that turn audio into notes and pedals, one file each. `load` finds one by its name."""

from __future__ import annotations

from aria_data.errors import ConfigInvalid
from aria_data.files import sha256_file
from aria_data.transcribers.base import Transcriber

NAMES = ("transkun",)


def load(name: str, device: str = "auto") -> Transcriber:
    """Load a backend's model. `device` is "auto" (a GPU when there is one), "cpu" or "cuda[:n]"."""
    if name == "transkun":
        from aria_data.transcribers.transkun import Transkun

        return Transkun.load(device)
    raise _unknown(name)


def weights_sha256(name: str) -> str:
    """Hash a backend's weights without loading its model."""
    if name == "transkun":
        from aria_data.transcribers.transkun import weights_path

        return sha256_file(weights_path())
    raise _unknown(name)


def _unknown(name: str) -> ConfigInvalid:
    return ConfigInvalid(f"transcribe.transcriber: {name!r} is not one of {', '.join(NAMES)}.")
