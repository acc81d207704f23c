"""Models that turn audio into notes and pedals, one file each. A file in this folder is a backend of that name.

A name with a dot is that of a Python module outside this project, which is imported: `my_models.loudest`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

from aria_data.errors import ConfigInvalid
from aria_data.storage import printable
from aria_data.transcribe.base import Compute, TranscribeConfig, Transcriber

SHARED = (
    "intervals",
    "pedal_presses",
    "transkun_decoder",
    "transkun_heads",
    "transkun_scores",
    "transkun_int8",
    "transkun_layers",
    "transkun_network",
    "transkun_passes",
)  # modules of a backend, no backends themselves
DEFAULT, ANYWHERE = TranscribeConfig(), Compute()
NAMES = tuple(sorted({module.name for module in pkgutil.iter_modules(__path__)} - set(SHARED)))


def load(config: TranscribeConfig = DEFAULT, compute: Compute = ANYWHERE) -> Transcriber:
    """Load the model of the backend that the configuration names.

    Raises `ConfigInvalid` for an unknown backend or hop, `UsageError` for a device or checkpoint that cannot be used.
    """
    return _module(config).load(config, compute)


def weights_sha256(config: TranscribeConfig = DEFAULT) -> str:
    """Give the hash of a backend's weights without loading its model."""
    return _module(config).weights_sha256(config)


def notes_version(config: TranscribeConfig = DEFAULT) -> int:
    """Give the number of the backend's notes, which is raised where new code finds others with the same weights."""
    return int(getattr(_module(config), "NOTES_VERSION", 1))


def heads_sha256(config: TranscribeConfig = DEFAULT) -> str:
    """Hash the weights of what this project adds to a backend; "" where nothing is added."""
    hash_of: Callable[[TranscribeConfig], str] | None = getattr(_module(config), "heads_sha256", None)
    return hash_of(config) if hash_of else ""


def earlier_heads(config: TranscribeConfig = DEFAULT) -> tuple[str, ...]:
    """Hashes of what earlier code added to a backend in the place of `heads_sha256`, newest first; its notes stand."""
    return tuple(getattr(_module(config), "EARLIER_HEADS", ())) if heads_sha256(config) else ()


def weights_file(config: TranscribeConfig = DEFAULT) -> Path | None:
    """Give the file that a backend loads its weights from, fetched where it has to be; None: its package brings them.

    Raises `UsageError` for a checkpoint that does not exist, `NetworkError` for one that cannot be fetched.
    """
    file_of: Callable[[TranscribeConfig], Path] | None = getattr(_module(config), "weights_file", None)
    return file_of(config) if file_of else None


def check_name(name: str, where: str) -> None:
    """Raise `ConfigInvalid` when there is no backend of this name; `where` is the setting that named it."""
    if "." in name:
        _module_outside(name, where)
    elif name not in NAMES:
        raise ConfigInvalid(
            f"{where}: {printable(name)!r} is not one of {', '.join(NAMES)}, nor a module of yours, "
            "whose name has a dot."
        )


def check(config: TranscribeConfig, where: str) -> None:
    """Raise `ConfigInvalid` or `UsageError` for a wrong name, hop or checkpoint, without loading a model."""
    check_name(config.transcriber, where)
    weights_sha256(config)


def _module(config: TranscribeConfig) -> ModuleType:
    name, where = config.transcriber, "transcribe.transcriber"
    check_name(name, where)
    return _module_outside(name, where) if "." in name else import_module(f"aria_data.transcribe.backends.{name}")


def _module_outside(name: str, where: str) -> ModuleType:
    """Import a transcriber that is no part of this project. Raises `ConfigInvalid` where it cannot be one."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigInvalid(f"{where}: {printable(name)!r} is no name of a Python module. Write PACKAGE.MODULE.")
    try:
        module = import_module(name)
    except Exception as error:  # whatever a module of somebody else raises when it is imported
        cause = f"{type(error).__name__}: {printable(' '.join(str(error).split()), 200)}"
        raise ConfigInvalid(
            f"{where}: the module {name!r} cannot be imported ({cause}). Install its package, or name the folder that "
            "holds it in PYTHONPATH."
        ) from error
    if missing := [one for one in ("load", "weights_sha256") if not callable(getattr(module, one, None))]:
        raise ConfigInvalid(
            f"{where}: the module {name!r} has no function {missing[0]}. docs/how-to/add-a-transcriber.md says what a "
            "transcriber has."
        )
    return module
