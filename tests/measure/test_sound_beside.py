"""The sound of a span is analysed while it is read to be transcribed, and gives what a reading of its own gives."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from fakes import FakeTranscriber, encode_audio, melody, use_fakes, write_audio

from aria_data.audio import AudioReader
from aria_data.measure import quality
from aria_data.measure.quality import SAMPLE_RATE, analyse_sound
from aria_data.records import Measurement
from aria_data.storage.stage_tables import StageTable
from aria_data.transcribe import transcribe_spans
from aria_data.transcribe.spans import Span
from flows.cli.jobs import run_build

LISTENER = "aria_data.measure.quality:SoundAnalysis"
KINDS = [("wav", "pcm_s16le", 44_100, 2), ("flac", "flac", 16_000, 1), ("mp3", "libmp3lame", 22_050, 1),
         ("opus", "libopus", 48_000, 2), ("m4a", "aac", 32_000, 2)]  # fmt: skip
SPANS = [(0.5, 3.25), (3.25, 6.0), (6.6, 7.9)]


class Stereo(FakeTranscriber):
    sample_rate, num_channels, correct_tuning = 22_050, 2, True
    window = hop = 2 * 22_050


@pytest.mark.parametrize("num_readers", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("ending", "codec", "rate", "num_channels"), KINDS)
def test_what_is_heard_beside_a_transcription_is_to_the_bit_what_is_read_alone(
    ending, codec, rate, num_channels, num_readers, tmp_path, monkeypatch
):
    monkeypatch.setattr(quality, "CHUNK_FRAMES", 40)
    monkeypatch.setattr(Stereo, "num_readers", num_readers)
    sound = melody(8, seed=rate, rate=rate, num_channels=num_channels)
    sound[:, -1] *= -0.8
    path = encode_audio(tmp_path / f"a.{ending}", sound, codec, rate)
    spans = [Span(str(number), path, *span, listener=LISTENER) for number, span in enumerate(SPANS)]
    heard = {key: result.heard for key, result in transcribe_spans(Stereo(), spans)}
    if num_readers:
        monkeypatch.undo()  # a process of its own cuts the sound as it does
    with AudioReader(path, SAMPLE_RATE, 1) as reader:
        for number, span in enumerate(SPANS):
            alone, beside = analyse_sound(reader.blocks(*span)), heard[str(number)]
            for name in ("chroma", "onset_strength", "level_db"):
                assert getattr(beside, name).tobytes() == getattr(alone, name).tobytes(), name
            assert beside.tuning == alone.tuning


def test_notes_are_the_same_with_and_without_a_listener(tmp_path):
    path = write_audio(tmp_path / "a.wav", melody(8, 1, 44_100, 2), 44_100)
    found = []
    for listener in ("", LISTENER):
        ((_, result),) = transcribe_spans(Stereo(), [Span("a", path, 0.5, 7.0, listener=listener)])
        found.append(result.performance)
    assert found[0] == found[1]


class Faulty:
    sample_rate = SAMPLE_RATE

    def add(self, block: np.ndarray) -> None:
        raise ZeroDivisionError

    def finish(self) -> str:
        return "half of it"


def test_a_listener_that_fails_costs_no_notes(tmp_path):
    path = write_audio(tmp_path / "a.wav", melody(4))
    ((_, result),) = transcribe_spans(FakeTranscriber(), [Span("a", path, listener=f"{__name__}:Faulty")])
    assert result.heard is None
    assert result.performance.notes


def test_a_segment_that_is_transcribed_is_not_read_again_to_be_measured(tmp_path, monkeypatch):
    use_fakes(monkeypatch)
    write_audio(tmp_path / "in" / "a.flac", melody(8, 1, 44_100, 2), 44_100)
    readings = []
    analyse = quality.analyse_sound
    monkeypatch.setattr(
        "aria_data.measure.measurement.analyse_sound", lambda blocks: readings.append(1) or analyse(blocks)
    )
    run_build(tmp_path / "in", tmp_path / "out", settings=["segment.min_segment_s=4"], with_prefect=False)
    (before,) = StageTable(tmp_path / "out", "measure", Measurement).all()
    assert readings == []
    shutil.rmtree(tmp_path / "out" / "tables" / "measure")
    run_build(tmp_path / "in", tmp_path / "out", settings=["segment.min_segment_s=4"], with_prefect=False)
    (after,) = StageTable(tmp_path / "out", "measure", Measurement).all()
    assert readings == [1]
    assert repr(after) == repr(before)  # NaN is no number
