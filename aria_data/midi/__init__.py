"""Notes and pedals, .mid files, and how close two performances are. All times are seconds."""

from aria_data.midi.midi_files import (
    HIGHEST_PITCH,
    LOWEST_PITCH,
    MAX_FILE_BYTES,
    SOFT,
    SOSTENUTO,
    SUSTAIN,
    Note,
    Pedal,
    Performance,
    midi_bytes,
    performance_of,
    read_midi,
)

__all__ = [
    "HIGHEST_PITCH",
    "LOWEST_PITCH",
    "MAX_FILE_BYTES",
    "Note",
    "Pedal",
    "Performance",
    "SOFT",
    "SOSTENUTO",
    "SUSTAIN",
    "midi_bytes",
    "performance_of",
    "read_midi",
]
