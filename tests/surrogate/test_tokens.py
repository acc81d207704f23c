"""MIDI files become tokens and windows; what cannot be read is named and left out."""

from __future__ import annotations

import io

import mido
import numpy as np
import pytest

from aria_data.errors import MidiUnreadable, UsageError
from aria_data.midi import Note, Performance, midi_bytes
from aria_data.surrogate import make_windows
from aria_data.surrogate.scorable import NOT_COUNTED
from aria_data.surrogate.tokens import KINDS, TokenConfig, tokenize, vocabulary
from aria_data.surrogate.windows import cut, inputs_and_targets, transpose

CONFIG = TokenConfig()
SMALL = TokenConfig(context_tokens=32, windows_per_file=3, warm_up_tokens=4)


def notes(num_notes: int, seed: int = 0) -> list[Note]:
    random = np.random.default_rng(seed)
    onsets = np.cumsum(random.uniform(0.05, 0.6, num_notes))
    pitches, velocities = random.integers(30, 90, num_notes), random.integers(30, 110, num_notes)
    return [
        Note(float(onset_s), float(onset_s) + 0.3, int(pitch), int(velocity))
        for onset_s, pitch, velocity in zip(onsets, pitches, velocities, strict=True)
    ]


def midi(num_notes: int, seed: int = 0) -> bytes:
    return midi_bytes(Performance(notes(num_notes, seed)))


def names_of(content: bytes, config: TokenConfig = CONFIG) -> list[str]:
    words = vocabulary(config)
    return [words.names[number] for number in tokenize(content, config).ids]


def test_tokens_say_the_notes_in_order():
    played = notes(20)
    names = names_of(midi_bytes(Performance(played)))
    assert [name for name in names if name.startswith("Pitch")] == [f"Pitch_{note.pitch}" for note in played]
    assert len([name for name in names if name.startswith("Velocity")]) == 20
    assert len([name for name in names if name.startswith("Duration")]) == 20


def test_half_a_second_is_one_beat_whatever_the_file_calls_it():
    played = [Note(0.5 * i, 0.5 * i + 0.25, 60, 64) for i in range(10)]
    assert names_of(midi_bytes(Performance(played))).count("TimeShift_1.0.24") == 9
    fast = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=250_000)])  # a beat is a quarter of a second
    for _ in range(10):
        track += [mido.Message("note_on", note=60, velocity=64), mido.Message("note_off", note=60, time=480)]
        track += [mido.Message("note_on", note=60, velocity=0, time=480)]
    fast.tracks.append(track)
    out = io.BytesIO()
    fast.save(file=out)
    assert names_of(out.getvalue()) == names_of(midi_bytes(Performance(played)))


def test_a_day_of_silence_is_one_token_longer_than_none():
    played = notes(10)
    later = [Note(note.onset_s + 86_400, note.offset_s + 86_400, note.pitch, note.velocity) for note in notes(10, 1)]
    long = tokenize(midi_bytes(Performance(played + later)), CONFIG)
    assert len(long.ids) <= 4 * 20
    assert long.minutes > 1440


def test_minutes_and_notes_are_the_files_own():
    file = tokenize(midi_bytes(Performance([Note(i, i + 0.5, 60, 64) for i in range(121)])), CONFIG)
    assert file.num_notes == 121
    assert file.minutes == pytest.approx(120.5 / 60, abs=1e-3)


def percussion() -> bytes:
    out = io.BytesIO()
    file = mido.MidiFile()
    hit = [mido.Message(kind, channel=9, note=40, velocity=90, time=100) for kind in ("note_on", "note_off")]
    file.tracks.append(mido.MidiTrack(hit * 50))
    file.save(file=out)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MThd",
        b"\x00" * 5000,
        midi(50)[:200],
        midi_bytes(Performance([])),
        midi(7),
        percussion(),
        b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x00\x00" + midi(50)[14:],
    ],
    ids=["empty", "header", "zeros", "cut off", "no notes", "seven notes", "percussion", "no time division"],
)
def test_a_broken_file_gives_one_line_and_the_rest_goes_on(content):
    with pytest.raises(MidiUnreadable):
        tokenize(content, CONFIG)
    windows = make_windows({"a": midi(60), "bad": content, "c": midi(60, 1)}, SMALL)
    assert windows.ids == ("a", "c")
    assert list(windows.left_out) == ["bad"]
    assert windows.left_out["bad"].startswith("bad: ")
    assert "\n" not in windows.left_out["bad"]


def test_an_odd_file_that_its_library_refuses_has_the_tokens_of_the_plain_one():
    plain = midi(50)
    wrapped = b"RIFF" + (len(plain) + 12).to_bytes(4, "little") + b"RMIDdata" + len(plain).to_bytes(4, "little") + plain
    assert list(tokenize(wrapped, CONFIG).ids) == list(tokenize(plain, CONFIG).ids)


def test_random_damage_never_gives_another_error():
    whole, random = midi(60), np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(whole)
        for place in random.integers(14, len(whole), random.integers(1, 20)):
            damaged[place] = random.integers(256)
        windows = make_windows({"whole": whole, "damaged": bytes(damaged)}, SMALL)
        assert "\n" not in windows.left_out.get("damaged", "")


def test_a_missing_file_is_left_out_and_none_at_all_is_an_error(tmp_path):
    windows = make_windows({"here": midi(60), "gone": tmp_path / "gone.mid"}, SMALL)
    assert windows.ids == ("here",)
    with pytest.raises(UsageError, match="None of 1 files"):
        make_windows({"gone": tmp_path / "gone.mid"}, SMALL)


def test_windows_begin_with_a_pitch_and_do_not_overlap():
    file = tokenize(midi(300), SMALL)
    rows = cut(file, SMALL)
    words = vocabulary(SMALL)
    assert rows.shape == (3, 32)
    assert (words.kinds[rows[:, 0]] == KINDS.index("pitch")).all()
    text = file.ids.tolist()
    at: list[int] = []
    for row in rows.tolist():
        at.append(next(i for i in range(at[-1] + 32 if at else 0, len(text)) if text[i : i + 32] == row))
    assert at[0] < 4
    assert at[-1] > len(text) - 32 - 4


def test_a_short_file_is_one_padded_window_whose_padding_is_not_counted():
    windows = make_windows({"short": midi(8)}, CONFIG)
    assert len(windows.tokens) == 1
    inputs, targets = inputs_and_targets(np.asarray(windows.tokens), windows.vocabulary)
    num_tokens = len(tokenize(midi(8), CONFIG).ids)
    assert inputs[0, 0] == windows.vocabulary.bos
    assert (targets[0] != NOT_COUNTED).sum() <= num_tokens
    assert (targets[0, num_tokens:] == NOT_COUNTED).all()
    _, scored = windows.examples().take(np.array([0]))
    assert (scored[0, : CONFIG.warm_up_tokens] == NOT_COUNTED).all()
    assert (scored[0] != NOT_COUNTED).any()


def test_an_input_ends_where_its_target_begins():
    windows = make_windows({"a": midi(60)}, SMALL)
    inputs, targets = inputs_and_targets(np.asarray(windows.tokens), windows.vocabulary)
    assert (inputs[:, 1:] == targets[:, :-1]).all()


def test_a_transposition_moves_pitches_alone_and_stays_on_the_keyboard():
    words = vocabulary(SMALL)
    rows = np.asarray(make_windows({"a": midi(100)}, SMALL).tokens)
    is_pitch = words.kinds[rows] == KINDS.index("pitch")
    moved = transpose(rows, np.full(len(rows), 3), words)
    assert (moved[is_pitch] == rows[is_pitch] + 3).all()
    assert (moved[~is_pitch] == rows[~is_pitch]).all()
    far = transpose(rows, np.full(len(rows), 80), words)
    steps = (far - rows)[is_pitch]
    assert (words.kinds[far] == words.kinds[rows]).all()
    assert 0 < steps.max() < 80


def test_windows_do_not_depend_on_the_order_of_files_nor_on_processes():
    files = {f"f{number}": midi(60 + number, number) for number in range(5)} | {"bad": b"no"}
    one = make_windows(files, SMALL)
    other = make_windows(dict(reversed(files.items())), SMALL, processes=2)
    assert one.sha256 == other.sha256
    assert one.left_out == other.left_out
    assert one.sha256 != make_windows(files, SMALL, groups={"f0": "f1"}).sha256


def test_windows_lie_on_disk():
    windows = make_windows({"a": midi(300)}, SMALL)
    assert isinstance(windows.tokens, np.memmap)
    assert windows.tokens.dtype == np.uint16


def test_some_files_are_the_same_read_in_place_or_copied():
    windows = make_windows({f"f{number}": midi(60 + 40 * number, number) for number in range(5)}, SMALL)
    copied, in_place = windows.of_files([1, 3]).examples(), windows.examples([1, 3])
    assert windows.of_files([3, 1]).ids == ("f1", "f3")
    assert (copied.owners == in_place.owners).all()
    every = np.arange(copied.num_windows)
    assert all((a == b).all() for a, b in zip(copied.take(every), in_place.take(every), strict=True))


def test_the_vocabularys_hash_tells_settings_apart():
    assert vocabulary(CONFIG).sha256 == vocabulary(TokenConfig()).sha256
    assert vocabulary(CONFIG).sha256 != vocabulary(TokenConfig(num_velocities=8)).sha256
    assert vocabulary(CONFIG).sha256 != vocabulary(TokenConfig(fine_steps_per_beat=16)).sha256


def test_pitch_ids_follow_one_another_in_the_order_of_the_keys():
    words = vocabulary(CONFIG)
    lowest, highest = words.pitch_ids
    assert words.names[lowest : highest + 1] == tuple(f"Pitch_{pitch}" for pitch in range(21, 109))
