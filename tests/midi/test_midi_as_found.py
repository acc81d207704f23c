"""Other people's MIDI files: odd ones are read as players and other libraries read them."""

from __future__ import annotations

import io
import random
import resource
import struct
import warnings
from pathlib import Path

import mido
import pytest

from aria_data.errors import MidiUnreadable
from aria_data.midi import Note, Pedal, Performance, midi_bytes, read_midi
from aria_data.midi.midi_events import MidiFile, parse

TICKS = 480  # a beat of half a second: a tick is 1/960 s
END = b"\x00\xff\x2f\x00"
TUNE = b"".join(b"\x00\x90%c%c\x83\x60\x80%c\x00" % (pitch, 60 + pitch % 40, pitch) for pitch in range(48, 60))
NOTES = [(0.5 * i, 0.5 * i + 0.5, 48 + i, 60 + (48 + i) % 40) for i in range(12)]


def header(kind: int = 0, num_tracks: int = 1, division: int = TICKS, more: bytes = b"") -> bytes:
    return b"MThd" + struct.pack(">IHHH", 6 + len(more), kind, num_tracks, division) + more


def chunk(content: bytes, name: bytes = b"MTrk", size: int | None = None) -> bytes:
    return name + struct.pack(">I", len(content) if size is None else size) + content


@pytest.fixture
def read(tmp_path):
    def read(content: bytes) -> Performance:
        (tmp_path / "x.mid").write_bytes(content)
        return read_midi(tmp_path / "x.mid")

    return read


def rounded(performance: Performance) -> list[tuple[float, float, int, int]]:
    return [(round(n.onset_s, 4), round(n.offset_s, 4), n.pitch, n.velocity) for n in performance.notes]


def rmid(content: bytes, before: bytes = b"") -> bytes:
    body = b"RMID" + before + b"data" + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


WHOLE = header() + chunk(TUNE + END)
AS_FOUND = {
    "plain": WHOLE,
    "a key signature of 18 flats": header() + chunk(b"\x00\xff\x59\x02\xee\x01" + TUNE + END),
    "a key signature of one byte": header() + chunk(b"\x00\xff\x59\x01\x0c" + TUNE + END),
    "a tempo of no length": header() + chunk(b"\x00\xff\x51\x00" + TUNE + END),
    "a tempo of 0": header() + chunk(b"\x00\xff\x51\x03\0\0\0" + TUNE + END),
    "a time signature of one byte": header() + chunk(b"\x00\xff\x58\x01\x04" + TUNE + END),
    "an unknown meta event": header() + chunk(b"\x00\xff\x7b\x02\xff\xff" + TUNE + END),
    "text that is no UTF-8": header() + chunk(b"\x00\xff\x03\x04\xe9\xff\x80\x00" + TUNE + END),
    "a controller of 255": header() + chunk(b"\x00\xb0\x07\xff" + TUNE + END),
    "a program of 200": header() + chunk(b"\x00\xc0\xc8" + TUNE + END),
    "a system exclusive without its end": header() + chunk(b"\x00\xf0\x03\x41\x10\x42" + TUNE + END),
    "an escape": header() + chunk(b"\x00\xf7\x02\xf3\x01" + TUNE + END),
    "a clock and a song position": header() + chunk(b"\x00\xf8\x00\xf2\x01\x02" + TUNE + END),
    "a chunk before the track": header() + chunk(b"foreign", b"XFIH") + chunk(TUNE + END),
    "a chunk before the header": chunk(b"foreign", b"XXXX") + WHOLE,
    "a MacBinary header": b"\0\x05tune." + b"\0" * 121 + WHOLE,
    "chunks after the track": WHOLE + chunk(b"foreign", b"XFKM") + chunk(b"", b"abcd"),
    "a track after a foreign chunk": header(1, 2) + chunk(END) + chunk(b"xx", b"CASM") + chunk(TUNE + END),
    "a foreign chunk without an end": WHOLE + chunk(b"foreign", b"XFKM", 99_999),
    "bytes after the track": WHOLE + b"\r\n",
    "many bytes after the track": WHOLE + bytes(1000),
    "a longer header": header(more=b"more") + chunk(TUNE + END),
    "a wrong length of the header": header().replace(b"\0\0\0\x06", b"\0\0\0\x07") + chunk(TUNE + END),
    "more tracks announced": header(1, 200) + chunk(TUNE + END),
    "fewer tracks announced": header(1, 1) + chunk(END) + chunk(TUNE + END),
    "no track announced": header(1, 0) + chunk(TUNE + END),
    "a track of length 0": header() + chunk(TUNE + END, size=0),
    "a track of unknown length": header() + chunk(TUNE + END, size=0xFFFF_FFFF),
    "a length that is too short": header() + chunk(TUNE + END, size=20),
    "a length that ends between events": header() + chunk(TUNE + END, size=9),
    "a length that hides the next track": header(1, 2) + chunk(END, size=12 + len(TUNE + END)) + chunk(TUNE + END),
    "no end of the track": header() + chunk(TUNE),
    "two ends of the track": header() + chunk(TUNE + END + END),
    "RMID": rmid(WHOLE),
    "RMID with a title first": rmid(WHOLE, b"LIST" + struct.pack("<I", 12) + b"INFOINAM\0\0\0\0"),
    "RMID with an odd length": rmid(header() + chunk(b"\x00\xff\x01\x01a" + TUNE + END)),
    "SMPTE, 24 frames of 40": header(division=0xE828) + chunk(TUNE + END),
    "SMPTE, 25 frames of 40": header(division=0xE728) + chunk(TUNE + END),
    "SMPTE, 30 frames of 80": header(division=0xE250) + chunk(b"\x00\xff\x51\x03\0\xff\xff" + TUNE + END),
    "SMPTE, 29.97 frames of 100": header(division=0xE364) + chunk(TUNE + END),
    "type 2 of one track": header(2) + chunk(TUNE + END),
    "type 2 that is type 1": header(2, 2) + chunk(b"\x00\xff\x51\x03\x07\xa1\x20" + END) + chunk(TUNE + END),
    "type 7": header(7) + chunk(TUNE + END),
    "running status past a meta event": header()
    + chunk(b"\x00\x90\x30\x44" + b"\x83\x60\x30\x00\x00\xff\x01\x01a\x00\x31\x45\x83\x60\x31\x00" + TUNE[18:] + END),
}


@pytest.mark.parametrize("kind", AS_FOUND)
def test_what_is_odd_about_a_file_costs_no_note(read, kind):
    expected, content = NOTES, AS_FOUND[kind]
    division = content[content.index(b"MThd") + 12]
    if division >= 0x80:  # SMPTE: 480 ticks are that many frames
        per_s = {0xE8: 24 * 40, 0xE7: 25 * 40, 0xE2: 30 * 80, 0xE3: 30_000 / 1001 * 100}[division]
        expected = [(round(a * 960 / per_s, 4), round(b * 960 / per_s, 4), *rest) for a, b, *rest in NOTES]
    assert rounded(read(content)) == expected


def test_values_over_127_are_127_and_a_pedal_of_255_is_down(read):
    performance = read(header() + chunk(b"\x00\xb0\x40\xff\x00\x90\x3c\xc8\x83\x60\x80\x3c\xff\x00\xb0\x40\x00" + END))
    assert rounded(performance) == [(0.0, 0.5, 60, 127)]
    assert performance.pedals == [Pedal(0.0, 0.5)]


def test_a_strike_before_the_release_on_the_same_tick_does_not_end_its_own_note(read):
    again = b"\x83\x60\x90\x3c\x46\x00\x80\x3c\x00"  # struck, then the note before is released
    again_as_strike = b"\x83\x60\x90\x3c\x46\x00\x90\x3c\x00"  # a release may be a strike of velocity 0
    for each in (again, again_as_strike):
        performance = read(header() + chunk(b"\x00\x90\x3c\x46" + 3 * each + b"\x83\x60\x80\x3c\x00" + END))
        assert rounded(performance) == [(0.5 * i, 0.5 * i + 0.5, 60, 70) for i in range(4)]
    no_length = read(header() + chunk(b"\x00\x90\x3c\x46" + again + b"\x00\x80\x3c\x00\x83\x60" + END[1:]))
    assert rounded(no_length) == [(0.0, 0.5, 60, 70), (0.5, 0.5, 60, 70)]  # the second release is its own


def test_the_hands_of_two_tracks_do_not_end_each_others_notes(read):
    long, short = b"\x00\x90\x3c\x46\x87\x40\x80\x3c\x00", b"\x83\x60\x90\x3c\x47\x81\x70\x80\x3c\x00"
    performance = read(header(1, 2) + chunk(long + END) + chunk(short + END))
    assert rounded(performance) == [(0.0, 1.0, 60, 70), (0.5, 0.75, 60, 71)]


def test_the_pieces_of_a_type_2_file_follow_one_another(read):
    performance = read(header(2, 2) + chunk(TUNE + END) + chunk(b"\x00\xff\x51\x03\x0f\x42\x40" + TUNE + END))
    second = [(6.0 + 2 * a, 6.0 + 2 * b, *rest) for a, b, *rest in NOTES]  # at 60 a minute
    assert rounded(performance) == NOTES + second


CUT = {
    "within an event": header() + chunk(TUNE + END)[:-10],
    "within the last event": header() + chunk(TUNE + END)[:-1],
    "within the name of the second track": header(1, 2) + chunk(END) + b"MTrk\0",
    "before its tracks": header(),
    "within a system exclusive": header() + chunk(b"\x00\xf0\x83\x60abc"),
    "no clock": header(division=0) + chunk(TUNE + END),
    "no SMPTE clock": header(division=0xE700) + chunk(TUNE + END),
    "a value in place of an event": header() + chunk(b"\x00\x30\x40" + END),
    "a time without an end": header() + chunk(b"\xff" * 100),
    "an unknown event": header() + chunk(b"\x00\xf5\x00" + END),
}


@pytest.mark.parametrize("kind", CUT)
def test_a_cut_or_damaged_file_is_refused_in_one_line_that_names_it(read, kind):
    with pytest.raises(MidiUnreadable, match=r"x\.mid: is not a valid MIDI file: it [^\n]*\. Remove or replace it\.$"):
        read(CUT[kind])


def test_what_is_no_file_or_far_too_large_is_refused(tmp_path):
    (tmp_path / "folder.mid").mkdir()
    with open(tmp_path / "large.mid", "wb") as file:
        file.write(WHOLE)
        file.truncate(20 << 20)
    for name, cause in (("folder.mid", "it is no file"), ("large.mid", "it has more than the 16 MB")):
        with pytest.raises(MidiUnreadable, match=cause):
            read_midi(tmp_path / name)


@pytest.mark.parametrize("minutes", [1, 82, 84, 170, 600, 1440, 50_000])
def test_our_own_files_open_in_other_libraries_however_long_they_are(tmp_path, minutes):
    import pretty_midi
    import symusic

    end_s = minutes * 60.0
    performance = Performance([Note(0.0, 1.0, 60, 64), Note(end_s - 1, end_s, 62, 70)], [Pedal(0.5, end_s)])
    path = tmp_path / "long.mid"
    path.write_bytes(midi_bytes(performance))
    step_s = 0.0005 if minutes <= 82 else max(0.001, end_s / 4e6)
    (piano,) = pretty_midi.PrettyMIDI(str(path)).instruments
    (track,) = [track for track in symusic.Score(path, ttype="second").tracks if track.notes]
    for onset_s in (piano.notes[-1].start, track.notes[-1].start, read_midi(path).notes[-1].onset_s):
        assert onset_s == pytest.approx(end_s - 1, abs=step_s)


def test_a_file_up_to_82_minutes_has_ticks_of_half_a_millisecond():
    assert mido.MidiFile(file=io.BytesIO(midi_bytes(Performance([Note(0, 4940, 60, 64)])))).ticks_per_beat == 1000


def made(rng: random.Random) -> bytes:
    """A file as other people's programs write them: tracks, channels, tempos, restrikes in either order."""
    tracks = [mido.MidiTrack()]
    for _ in range(rng.randrange(6)):
        tracks[0].append(
            mido.MetaMessage("set_tempo", tempo=rng.randrange(200_000, 1_500_000), time=rng.randrange(2000))
        )
    for _ in range(rng.randrange(1, 4)):
        events: list[tuple[int, float, mido.Message]] = []
        channel = rng.choice([0, 1, 5, 9])
        for pitch in rng.sample(range(21, 109), 8):
            tick = 0
            for _ in range(rng.randrange(1, 20)):
                tick, length = tick + rng.choice([0, 0, 1, 240, 977]), rng.choice([1, 120, 480, 1931])
                on = mido.Message("note_on", channel=channel, note=pitch, velocity=rng.randrange(1, 128))
                off = rng.choice(
                    [on.copy(velocity=0), mido.Message("note_off", channel=channel, note=pitch, velocity=64)]
                )
                strike_first = rng.random()  # at one tick, some writers write strikes first, others releases
                events += [(tick, strike_first, on), (tick + length, rng.random(), off)]
                tick += length
        events.sort(key=lambda event: event[:2])
        track, now = mido.MidiTrack(), 0
        for tick, _, message in events:
            track.append(message.copy(time=tick - now))
            now = tick
        tracks.append(track)
    out = io.BytesIO()
    mido.MidiFile(type=1, ticks_per_beat=rng.choice([96, 480, 1024]), tracks=tracks).save(file=out)
    return out.getvalue()


@pytest.mark.parametrize("seed", range(12))
def test_notes_are_those_that_other_libraries_read(tmp_path, seed):
    import pretty_midi
    import symusic

    path = tmp_path / "x.mid"
    path.write_bytes(made(random.Random(seed)))
    ours = sorted((n.pitch, n.onset_s, n.offset_s, n.velocity) for n in read_midi(path).notes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pianos = [each for each in pretty_midi.PrettyMIDI(str(path)).instruments if not each.is_drum]
    theirs = [[(n.pitch, n.start, n.end, n.velocity) for each in pianos for n in each.notes]]
    tracks = [track for track in symusic.Score(path, ttype="second").tracks if not track.is_drum]
    theirs.append([(n.pitch, n.start, n.end, n.velocity) for track in tracks for n in track.notes])
    for found in theirs:
        assert len(found) == len(ours)
        for one, other in zip(ours, sorted(found), strict=True):
            assert one == pytest.approx(other, abs=1e-3)


def mutated(rng: random.Random, content: bytes) -> bytes:
    """Change a few bytes, or cut, double, drop or move a stretch."""
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 6)):
        if not changed:
            break
        start = rng.randrange(len(changed))
        end = min(len(changed), start + rng.choice([1, 2, 4, 30, 400]))
        kind = rng.randrange(6)
        if kind <= 1:
            changed[start] = rng.choice([0, 1, 0x7F, 0x80, 0xF0, 0xF7, 0xFF, rng.randrange(256)])
        elif kind == 2:
            del changed[start:end]
        elif kind == 3:
            changed[start:start] = changed[start:end] * rng.choice([1, 1, 20])
        elif kind == 4:
            changed[start:end] = rng.randbytes(end - start)
        else:
            del changed[start:]
    return bytes(changed)


def test_mutated_files_are_read_or_refused(tmp_path):
    check_mutants(tmp_path / "x.mid", range(600))


@pytest.mark.slow
def test_mutated_files_by_the_thousand_are_read_or_refused_in_bounded_memory(tmp_path):
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check_mutants(tmp_path / "x.mid", range(600, 20_000))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 200_000


def check_mutants(path: Path, seeds: range) -> None:
    originals = [*AS_FOUND.values(), *(made(random.Random(seed)) for seed in range(4))]
    num_read, messages = 0, set()
    for seed in seeds:
        rng = random.Random(seed)
        content = mutated(rng, rng.choice(originals))
        path.write_bytes(content)
        try:
            performance = read_midi(path)
        except MidiUnreadable as error:
            messages.add(str(error))
            continue
        num_read += 1
        assert len(performance.notes) <= len(content) / 3  # work and memory grow with the file, not with what it says
        assert all(0 <= n.onset_s < n.offset_s and 0 <= n.pitch <= 127 for n in performance.notes)
        assert all(1 <= note.velocity <= 127 for note in performance.notes)
    assert not any("\n" in message for message in messages)
    assert 0.1 * len(seeds) < num_read < len(seeds)


def test_events_read_quickly_are_those_read_one_by_one(monkeypatch):
    """The quick way stops where an event is not plain. Without it, the same is read, or refused for the same reason."""
    contents = [*AS_FOUND.values(), *(made(random.Random(seed)) for seed in range(20))]
    contents += [mutated(random.Random(seed), contents[seed % len(contents)]) for seed in range(200)]
    quickly = [parsed(content) for content in contents]
    plainly = "aria_data.midi.midi_events._TrackReader._read_plain_events"
    monkeypatch.setattr(plainly, lambda reader, track, tick, status: (tick, status))
    assert [parsed(content) for content in contents] == quickly
    assert sum(isinstance(each, MidiFile) for each in quickly) > 50


def parsed(content: bytes) -> MidiFile | str:
    try:
        return parse(content)
    except ValueError as error:
        return str(error)
