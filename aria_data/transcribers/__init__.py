"""Backends that turn audio into notes and pedals, one file each. A file beside this one is a backend by its name."""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Any

from aria_data.errors import ConfigInvalid
from aria_data.transcribers.base import Compute, TranscribeConfig, Transcriber

SHARED = ("base", "batching", "checkpoints", "devices", "intervals", "stretches", "transkun_network")  # not backends
DEFAULT, ANYWHERE = TranscribeConfig(), Compute()
NAMES = tuple(sorted({module.name for module in pkgutil.iter_modules(__path__)} - set(SHARED)))


def load(config: TranscribeConfig = DEFAULT, compute: Compute = ANYWHERE) -> Transcriber:
    """Load the backend's model that the configuration names."""
    return _module(config).load(config, compute)


def load_everywhere(config: TranscribeConfig = DEFAULT, compute: Compute = ANYWHERE) -> Any:
    """Load the model on every device that `compute` names: a `Transcriber`, or `devices.Several` of them.

    Either goes into `stretches.hear_stretches`.
    """
    from aria_data.transcribers.devices import Several, devices_of

    devices = devices_of(compute)
    if len(devices) == 1:
        return load(config, replace(compute, device=devices[0]))
    return Several(config, compute, devices)


def weights_sha256(config: TranscribeConfig = DEFAULT) -> str:
    """Give the hash of a backend's weights without loading its model."""
    return _module(config).weights_sha256(config)


def check_name(name: str, where: str) -> None:
    """Raise `ConfigInvalid` when there is no backend of this name; `where` says which setting named it."""
    if name not in NAMES:
        raise ConfigInvalid(f"{where}: {name!r} is not one of {', '.join(NAMES)}.")


def check(config: TranscribeConfig, where: str) -> None:
    """Raise `ConfigInvalid` or `UsageError` for what can be seen to be wrong before anything is loaded."""
    check_name(config.transcriber, where)
    weights_sha256(config)


def _module(config: TranscribeConfig) -> ModuleType:
    check_name(config.transcriber, "transcribe.transcriber")
    return import_module(f"aria_data.transcribers.{config.transcriber}")
