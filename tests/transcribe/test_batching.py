"""Many spans through one model: order, shared batches, memory and faults, with a model that only adds up samples."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest

from aria_data.errors import AudioUnreadable, TemporaryError, TranscriptionFailed
from aria_data.midi import Note, Performance
from aria_data.transcribe import TranscriptionResult
from aria_data.transcribe.batching import transcribe_all, transcribe_one

HOP, WINDOW, LEAD = 10, 16, 6


@dataclass
class Counting:
    """Gives the sum of each window. That is enough here: the backends' own tests check the notes of a window."""

    name = "counting"
    sha256 = "0" * 64
    sample_rate = 1
    num_channels = 1
    window, hop, lead = WINDOW, HOP, LEAD
    batch_size: int = 4
    num_workers: int = 3
    room: int = 100  # windows for which there is memory
    calls: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def infer(self, windows):
        with self.lock:
            self.calls.append(len(windows))
        if len(windows) > self.room:
            raise MemoryError
        if (windows == 666).any():
            raise ValueError("a poisoned window")
        return [float(window.sum()) for window in windows]

    def decoder(self):
        return Sums()


class Sums:
    def __init__(self):
        self.sums = []

    def add(self, output):
        self.sums.append(output)

    def finish(self):
        return TranscriptionResult(
            Performance([Note(index, index + 1, 60, 64) for index in range(len(self.sums))]), self.sums
        )


def span(length: int, value: float = 1.0):
    return lambda: np.array_split(np.full((length, 1), value, np.float32), 3)


def sums(length: int, value: float = 1.0) -> list[float]:
    padded = np.concatenate([np.zeros(LEAD), np.full(length, value)])
    found, start = [], 0
    while start == 0 or start + WINDOW - HOP < len(padded):
        found.append(float(padded[start : start + WINDOW].sum()))
        start += HOP
    return found


def test_windows_of_many_spans_share_passes_and_stay_in_order():
    model = Counting()
    lengths = {f"span {n}": n for n in (1, 10, 11, 25, 99, 7, 10, 40)}
    results = dict(transcribe_all(model, ((key, span(n, n)) for key, n in lengths.items())))
    assert {key: one.confidence for key, one in results.items()} == {key: sums(n, n) for key, n in lengths.items()}
    assert max(model.calls) == 4
    assert len(model.calls) < sum(len(sums(n)) for n in lengths.values())


def test_no_audio_gives_no_notes():
    assert transcribe_one(Counting(), []).performance.notes == []


def test_a_batch_too_large_for_the_memory_is_halved_for_good():
    model = Counting(batch_size=8, num_workers=1, room=2)
    assert transcribe_one(model, span(400)()).confidence == sums(400)
    assert max(model.calls[-10:]) <= 2


def test_no_memory_for_a_single_window_is_a_temporary_error():
    results = dict(transcribe_all(Counting(room=0), [("a", span(30))]))
    assert isinstance(results["a"], TemporaryError)


def test_one_poisoned_span_fails_alone():
    spans = [("good", span(35)), ("poison", span(35, 666)), ("fine", span(50))]
    results = dict(transcribe_all(Counting(), spans))
    assert isinstance(results["poison"], ValueError)
    assert results["good"].confidence == sums(35)
    assert results["fine"].confidence == sums(50)


def test_a_file_that_breaks_off_fails_alone_with_its_own_error():
    def broken():
        yield np.ones((30, 1), np.float32)
        raise AudioUnreadable("x.mp3: is damaged")

    results = dict(transcribe_all(Counting(), [("a", span(20)), ("broken", broken), ("b", span(20))]))
    assert str(results["broken"]) == "x.mp3: is damaged"
    assert results["a"].confidence == results["b"].confidence == sums(20)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_fail_by_name(value):
    results = dict(transcribe_all(Counting(), [("a", span(20, value)), ("b", span(20))]))
    assert isinstance(results["a"], TranscriptionFailed)
    assert results["a"].reason == "samples_not_finite"
    assert results["b"].confidence == sums(20)


def test_a_span_whose_inference_failed_is_not_read_to_its_end():
    read = []

    def endless():
        for index in range(100_000):
            read.append(index)
            yield np.full((10, 1), 666, np.float32)

    results = dict(transcribe_all(Counting(), [("endless", endless)]))
    assert isinstance(results["endless"], ValueError)
    assert len(read) < 1000


def test_a_long_span_is_read_only_as_far_ahead_as_is_worked_on():
    model = Counting(batch_size=2, num_workers=2)
    ahead = []

    def blocks():
        for index in range(500):
            ahead.append(index - sum(model.calls))
            yield np.ones((HOP, 1), np.float32)

    assert len(transcribe_one(model, blocks()).performance.notes) == 500
    assert max(ahead) <= 2 * (2 + 3)


def test_threads_of_torch_are_as_before():
    import torch

    before = torch.get_num_threads()
    transcribe_one(Counting(), span(100)())
    assert torch.get_num_threads() == before
