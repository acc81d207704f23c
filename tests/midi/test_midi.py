"""What is written as MIDI is read back; what is no MIDI is refused in one line."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aria_data.errors import MidiUnreadable
from aria_data.midi import SOFT, SOSTENUTO, SUSTAIN, Note, Pedal, Performance, midi_bytes, read_midi

TICK_S = 0.0005


def read_bytes(content: bytes) -> Performance:
    with tempfile.NamedTemporaryFile(suffix=".mid") as file:
        file.write(content)
        file.flush()
        return read_midi(file.name)


def spans(max_size: int):
    """Spans one after another, at least 1 ms long and 1 ms apart, as (start, end)."""
    lengths = st.tuples(st.floats(0.001, 30.0), st.floats(0.001, 30.0))

    def laid_out(pairs):
        now, out = 0.0, []
        for gap_s, length_s in pairs:
            out.append((now + gap_s, now + gap_s + length_s))
            now = out[-1][1]
        return out

    return st.lists(lengths, max_size=max_size).map(laid_out)


performances = st.builds(
    lambda notes, velocity, pedals: Performance(
        sorted(
            Note(a, b, pitch, (velocity + i) % 127 + 1) for pitch, of in notes.items() for i, (a, b) in enumerate(of)
        ),
        sorted(Pedal(a, b, controller) for controller, of in pedals.items() for a, b in of),
    ),
    st.dictionaries(st.integers(21, 108), spans(4), max_size=6),
    st.integers(0, 126),
    st.dictionaries(st.sampled_from([SUSTAIN, SOSTENUTO, SOFT]), spans(3)),
)


@settings(max_examples=60, deadline=None)
@given(performances)
def test_a_performance_survives_writing_and_reading_to_half_a_millisecond(performance):
    back = read_bytes(midi_bytes(performance))
    by_pitch = sorted(performance.notes, key=lambda note: (note.pitch, note.onset_s))
    back_by_pitch = sorted(back.notes, key=lambda note: (note.pitch, note.onset_s))
    assert [(n.pitch, n.velocity) for n in back_by_pitch] == [(n.pitch, n.velocity) for n in by_pitch]
    pairs = list(zip(by_pitch, back_by_pitch, strict=True))
    key = lambda pedal: (pedal.controller, pedal.onset_s)  # noqa: E731
    pairs += zip(sorted(performance.pedals, key=key), sorted(back.pedals, key=key), strict=True)
    for event, read in pairs:
        assert abs(event.onset_s - read.onset_s) <= TICK_S
        assert abs(event.offset_s - read.offset_s) <= TICK_S
    assert midi_bytes(back) == midi_bytes(performance)


@settings(max_examples=150, deadline=None)
@given(performances, st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8), st.floats(0, 1))
def test_a_damaged_midi_file_is_read_or_refused_and_never_anything_else(performance, changes, share):
    content = bytearray(midi_bytes(performance))
    for place, value in changes:
        content[int(place * (len(content) - 1))] = value
    del content[int(share * len(content)) + 1 :]
    try:
        read_bytes(bytes(content))
    except MidiUnreadable as error:
        refused = str(error)
        assert "\n" not in refused


def test_a_repeated_note_is_not_cut_by_the_one_before():
    notes = [Note(0.0, 1.0, 60, 64), Note(1.0, 2.0, 60, 80)]
    assert read_bytes(midi_bytes(Performance(notes))).notes == notes


def test_a_note_shorter_than_a_tick_lasts_one():
    (note,) = read_bytes(midi_bytes(Performance([Note(1.0, 1.0, 60, 64)]))).notes
    assert (note.onset_s, note.offset_s) == (1.0, 1.0005)


def test_the_same_performance_gives_the_same_bytes_in_any_order():
    notes = [Note(0.0, 1.0, 60, 64), Note(0.0, 1.0, 64, 64), Note(0.5, 1.0, 67, 64)]
    assert midi_bytes(Performance(notes)) == midi_bytes(Performance(notes[::-1]))


def test_an_empty_performance_is_a_valid_file():
    assert read_bytes(midi_bytes(Performance())) == Performance()
    assert Performance().end_s == 0.0


def saved(*messages: mido.Message, **settings: int) -> bytes:
    out = io.BytesIO()
    mido.MidiFile(tracks=[mido.MidiTrack(messages)], **settings).save(file=out)
    return out.getvalue()


def test_other_peoples_files_are_read_with_their_tempo_channels_and_running_ends():
    performance = read_bytes(
        saved(
            mido.MetaMessage("set_tempo", tempo=1_000_000),
            mido.Message("note_on", note=60, velocity=50, channel=0, time=480),  # 1 s
            mido.Message("note_on", note=38, velocity=50, channel=9),  # percussion
            mido.MetaMessage("set_tempo", tempo=500_000, time=480),  # 2 s
            mido.Message("note_on", note=60, velocity=0, channel=0, time=480),  # 2.5 s: a release
            mido.Message("note_on", note=64, velocity=70, channel=3),
            mido.Message("control_change", control=64, value=127),
            mido.Message("control_change", control=64, value=100, time=480),
            mido.Message("note_on", note=64, velocity=71, channel=3, time=480),  # 3.5 s: struck again, not released
            mido.MetaMessage("end_of_track", time=480),
            ticks_per_beat=480,
        )
    )
    assert [(n.onset_s, n.pitch, n.velocity) for n in performance.notes] == [
        (1.0, 60, 50),
        (2.5, 64, 70),
        (3.5, 64, 71),
    ]
    assert [n.offset_s for n in performance.notes] == pytest.approx([2.5, 3.5, 4.0])
    assert performance.pedals == [Pedal(2.5, 4.0, SUSTAIN)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MThd",
        b"RIFF",
        bytes(1000),
        midi_bytes(Performance())[:-5],
        midi_bytes(Performance([Note(0.5, 1.0, 60, 64)])).replace(b"\x03\xe8", b"\0\0", 1),  # 0 ticks a beat
    ],
)
def test_what_is_no_midi_file_is_refused_in_one_line_that_names_it(tmp_path, content):
    path = tmp_path / "x.mid"
    path.write_bytes(content)
    with pytest.raises(MidiUnreadable, match="x.mid: ") as caught:
        read_midi(path)
    assert "\n" not in str(caught.value)


def test_a_missing_midi_file_is_refused_in_one_line():
    with pytest.raises(MidiUnreadable, match="nowhere.mid: cannot be read"):
        read_midi(Path("nowhere.mid"))
