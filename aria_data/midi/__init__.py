"""Notes and pedals, .mid files, and how close two performances are. All times are seconds.

In: .mid files, or the notes and pedals of a `Performance`. Out: the other of the two; and how well an estimated
performance matches the true one.
`midi_files` reads and writes, `matching` pairs notes, `accuracy` computes onset F1 and others from the pairs,
`playing_accuracy` how well pedal and velocities fit.
"""

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
