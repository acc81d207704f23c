"""What each measure says that the manifest has no column for, in a line for a person. The others are in the schema."""

from __future__ import annotations

from aria_data.measure.measures import DENSE_WINDOWS_S, PITCH_WINDOWS_S

MEANINGS = {
    **{f"densest_{each}_s": f"notes a second in the fullest {each} s" for each in DENSE_WINDOWS_S},
    **{
        f"densest_{each}_s_per_pitch": f"strikes a second of the busiest pitch in its fullest {each} s"
        for each in DENSE_WINDOWS_S
    },
    **{
        f"num_unique_pitches_in_{each}_s": f"different pitches in the {each} s that have the fewest"
        for each in PITCH_WINDOWS_S
    },
    "note_length_entropy": "entropy in bits of how long notes sound; near 0: all are equally long",
    "num_unique_pitches": "different pitches that are struck",
    "longest_note_s": "the longest that one key is held, in seconds",
    "mean_velocity": "mean velocity of all notes, 1 to 127",
    "chunk_divergence": "how different the fifths of a segment of 20 minutes or more are, in nats; near 0: it repeats",
    "start_level_db": "level of the sound where the segment begins, in dB of full scale",
    "end_level_db": "level of the sound where the segment ends, in dB of full scale",
    "start_edge_db": "level that decided whether its start is cut, in dB below the loud parts",
    "end_edge_db": "level that decided whether its end is cut, in dB below the loud parts",
    "softest_db": "the softest moment, in dB below the loud parts",
}
