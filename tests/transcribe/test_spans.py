"""Spans of files: read here or in processes they give the same windows; a reader that dies costs one file only."""

from __future__ import annotations

import multiprocessing
import os
import signal

import numpy as np
import pytest
from fakes import RATE, FakeTranscriber, load_fake, melody, write_audio

from aria_data.errors import AudioUnreachable, AudioUnreadable, TemporaryError, UsageError
from aria_data.midi import Performance
from aria_data.transcribe import Compute, Span, TranscribeConfig, backends, transcribe_spans
from aria_data.transcribe.devices import TranscriberPool, devices_of
from aria_data.transcribe.spans import SLOTS_PER_READER, read_here, read_in_processes


def ignore(key: str, seconds: float) -> None:
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    for number in range(5):
        write_audio(folder / f"{number}.wav", melody(5 + 3 * number, number))
    (folder / "bad.mp3").write_bytes(b"this is no audio")
    return folder


@pytest.fixture
def spans(folder):
    whole = [Span(f"whole {number}", folder / f"{number}.wav") for number in range(5)]
    parts = [Span(f"part {start}", folder / "4.wav", start, start + 4) for start in (0, 5, 9)]
    return [*whole, Span("bad", folder / "bad.mp3"), *parts]


def by_key(pieces) -> dict[str, tuple[list[np.ndarray], Exception | None]]:
    windows: dict[str, list] = {}
    ends: dict[str, Exception | None] = {}
    for piece in pieces:
        assert piece.key not in ends
        if piece.window is None:
            ends[piece.key] = piece.error
        else:
            windows.setdefault(piece.key, []).append(piece.window)
    return {key: (windows.get(key, []), error) for key, error in ends.items()}


def test_processes_read_what_is_read_here(spans):
    read = {"here": [], "there": []}
    here = by_key(read_here(FakeTranscriber(), spans, set(), lambda key, s: read["here"].append((key, s))))
    there = by_key(read_in_processes(FakeTranscriber(), spans, 3, lambda key, s: read["there"].append((key, s))))
    assert set(here) == set(there) == {span.key for span in spans}
    for key, (windows, error) in here.items():
        assert len(there[key][0]) == len(windows)
        assert all(np.array_equal(a, b) for a, b in zip(there[key][0], windows, strict=True))
        assert str(error) == str(there[key][1])
        assert sum(s for k, s in read["here"] if k == key) == pytest.approx(
            sum(s for k, s in read["there"] if k == key)
        )
    assert isinstance(there["bad"][1], AudioUnreadable)
    assert there["bad"][1].reason == "not_audio"


def test_notes_are_the_same_wherever_audio_is_read(spans, monkeypatch):
    here = dict(transcribe_spans(FakeTranscriber(), spans))
    monkeypatch.setattr(FakeTranscriber, "num_readers", 2)
    there = dict(transcribe_spans(FakeTranscriber(), spans))
    assert set(here) == set(there)
    for key, result in here.items():
        if key != "bad":
            assert result.performance == there[key].performance != Performance()


@pytest.mark.parametrize("num_readers", [0, 1])
def test_a_file_that_became_shorter_is_not_done_and_its_length_is_named(folder, monkeypatch, num_readers):
    monkeypatch.setattr(FakeTranscriber, "num_readers", num_readers)
    results = dict(transcribe_spans(FakeTranscriber(), [Span("x", folder / "0.wav", 0, 60)]))
    assert isinstance(results["x"], AudioUnreachable)  # it may become whole again
    assert results["x"].reason == "audio_changed"
    assert "0.wav: holds only 5.0 s of the 60.0 s that it held before." in str(results["x"])


@pytest.mark.parametrize(
    ("kill", "kind", "message"),
    [(signal.SIGSEGV, AudioUnreadable, "crashed the process"), (signal.SIGKILL, TemporaryError, "too little memory")],
)
def test_a_file_that_kills_its_reader_fails_alone(spans, kill, kind, message):
    pieces = read_in_processes(FakeTranscriber(), spans, 1, ignore)
    found: dict[str, Exception | None] = {}
    killed = ""
    for piece in pieces:
        if piece.window is None:
            found[piece.key] = piece.error
        elif piece.key == "whole 4" and not killed:
            killed = piece.key
            for child in multiprocessing.active_children():
                os.kill(child.pid, kill)
    assert set(found) == {span.key for span in spans}
    assert type(found["whole 4"]) is kind
    assert message in str(found["whole 4"])
    assert [key for key, error in found.items() if error] == ["whole 4", "bad"]


def test_readers_wait_for_free_slots(folder):
    write_audio(folder / "long.wav", np.zeros((300 * RATE, 1), np.float32))
    read = []
    pieces = read_in_processes(FakeTranscriber(), [Span("l", folder / "long.wav")], 1, lambda k, s: read.append(s))
    for _ in range(10):
        next(pieces)
    assert sum(read) <= 2 * (10 + SLOTS_PER_READER) + 6  # seconds; a window is 2 s
    pieces.close()
    assert not multiprocessing.active_children()


def test_devices_are_named_one_by_one():
    assert devices_of(Compute("cpu")) == ["cpu"]
    assert devices_of(Compute("cuda:0, cuda:1")) == ["cuda:0", "cuda:1"]


def test_a_device_that_is_not_here_is_refused_before_anything_is_transcribed():
    with pytest.raises(UsageError, match="tpu"):
        TranscriberPool(TranscribeConfig(), Compute(), ["tpu", "tpu"])


# The model itself takes minutes in each process; around it the processes are the same.
REAL = pytest.param(backends.load, marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[load_fake, REAL], ids=["stand-in", "real"])
def load(request):
    return request.param


@pytest.fixture(scope="module")
def two(load):
    """Two devices with the model; both are the processor here, which a process of its own is to the program."""
    several = TranscriberPool(TranscribeConfig(), Compute(num_threads=1), ["cpu", "cpu"], load)
    yield several
    several.close()


@pytest.mark.timeout(1500)  # a guard against hanging: the real model takes 15 s or more
def test_two_devices_share_the_work_and_give_what_one_gives(two, load, spans):
    read: dict[str, float] = {}
    together = dict(transcribe_spans(two, spans, lambda key, s: read.update({key: read.get(key, 0) + s})))
    alone = dict(transcribe_spans(load(TranscribeConfig(), Compute("cpu")), spans))
    assert set(together) == set(alone)
    assert isinstance(together.pop("bad"), AudioUnreadable)
    for key, result in together.items():
        assert result.performance == alone[key].performance
        assert load is backends.load or result.performance != Performance()
    assert read["whole 2"] == pytest.approx(11)


@pytest.mark.timeout(1500)  # a guard against hanging: the real model takes 15 s or more
def test_the_spans_of_a_device_that_dies_go_to_the_other(two, spans):
    (first, second) = two._workers
    results = {}
    for key, result in transcribe_spans(two, spans):
        if not results:
            os.kill(first.process.pid, signal.SIGKILL)
        results[key] = result
    assert set(results) == {span.key for span in spans}
    assert [key for key, result in results.items() if isinstance(result, Exception)] == ["bad"]
    assert (first.is_alive, second.is_alive) == (False, True)


class Tuned(FakeTranscriber):
    correct_tuning = True


def detuned(cents: float, seconds: float = 12) -> np.ndarray:
    """A chromatic scale, half a second a note, so many cents off."""
    times = np.arange(round(seconds * RATE)) / RATE
    pitches = 57 + (np.floor(times * 2) * 5) % 24
    wave = 0.3 * np.sin(2 * np.pi * 440 * 2 ** ((pitches + cents / 100 - 69) / 12) * times)
    return wave[:, None].astype(np.float32)


@pytest.mark.parametrize("num_readers", [0, 1])
@pytest.mark.parametrize("cents", [35, -35])
def test_a_detuned_recording_is_resampled_to_440_hz_and_its_times_stay(tmp_path, monkeypatch, cents, num_readers):
    monkeypatch.setattr(FakeTranscriber, "num_readers", num_readers)
    path = write_audio(tmp_path / "detuned.wav", detuned(cents))
    read = []
    span = Span("x", path, 0, 12)
    result = dict(transcribe_spans(Tuned(), [span], lambda key, s: read.append(s)))["x"]
    assert sum(read) == pytest.approx(12, abs=0.01)
    speed = 2 ** (cents / 1200)
    assert result.performance.notes[10].onset_s == pytest.approx(5.0 / speed, abs=0.002)
    in_tune = dict(transcribe_spans(FakeTranscriber(), [Span("x", write_audio(tmp_path / "a.wav", detuned(0)))]))["x"]
    first = [note.pitch for note in in_tune.performance.notes[:12]]
    assert [note.pitch for note in result.performance.notes[:12]] == first


def test_a_recording_in_tune_is_not_resampled(tmp_path):
    path = write_audio(tmp_path / "a.wav", detuned(4))
    a, b = (dict(transcribe_spans(model, [Span("x", path)]))["x"] for model in (Tuned(), FakeTranscriber()))
    assert a.performance == b.performance
