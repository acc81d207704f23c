"""Recordings to piano MIDI datasets: the library. It knows audio, notes and tables; no Prefect and no classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aria_data.manifest import Dataset as Dataset

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load `Dataset` when it is first asked for, so that `import aria_data` stays light."""
    if name == "Dataset":
        from aria_data.manifest import Dataset

        return Dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
