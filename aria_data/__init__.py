"""Recordings to piano MIDI datasets: the library. It knows audio, notes and tables; no Prefect and no classifier.

What a script or a notebook wants is here, each loaded when it is first asked for:

    Dataset          read a released dataset: rows, MIDI bytes, figures, samples, a torch Dataset
    transcribe_file  an audio file to notes and pedals, and to a .mid
    annotate_title   a title to composer, performer, composition, form, key
    score_titles     titles to 1 to 5: does the text promise solo piano?
    read_midi        a .mid to notes and pedals

Beside them, `classifiers.Classifier` finds solo piano in audio, and `flows.build_dataset.build` builds a dataset.
docs/library.md shows each in five lines. The folders are the steps of the pipeline, and what several steps share:
`architecture.md` says which.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aria_data.annotate import annotate as annotate_title
    from aria_data.manifest import Dataset
    from aria_data.midi import read_midi
    from aria_data.screen import score_titles
    from aria_data.transcribe.midi_output import transcribe_file

__version__ = "0.1.0"
__all__ = ["Dataset", "annotate_title", "read_midi", "score_titles", "transcribe_file"]

_HOMES = {
    "Dataset": ("aria_data.manifest.dataset", "Dataset"),
    "annotate_title": ("aria_data.annotate.annotation", "annotate"),
    "read_midi": ("aria_data.midi.midi_files", "read_midi"),
    "score_titles": ("aria_data.screen.screening", "score_titles"),
    "transcribe_file": ("aria_data.transcribe.midi_output", "transcribe_file"),
}


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for, so that `import aria_data` stays light."""
    if name in _HOMES:
        module, attribute = _HOMES[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
