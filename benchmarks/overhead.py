"""The cost of the flow and the tables, against a bare loop over the same functions.

    python benchmarks/overhead.py [--items 12] [--work-s 10]

Every item is a real recording that is decoded, scored and written; the transcriber only waits `--work-s` seconds, so
that both sides do the same work. Prints the wall time of both, the ratio, and the fixed cost of Prefect's start.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from aria_data.annotate import annotate
from aria_data.audio import AudioReader, ingest
from aria_data.collect import collect_folder
from aria_data.config import BuildConfig
from aria_data.measure import measure_segment
from aria_data.measure.quality import SAMPLE_RATE
from aria_data.midi import Note, Performance
from aria_data.screen import screen
from aria_data.segment import Scored, SegmentConfig, find_segments
from aria_data.storage.files import from_location
from aria_data.transcribe import TranscriptionResult, transcribe_spans
from aria_data.transcribe.midi_output import save_transcription, span_of

RATE, SECONDS = 16_000, 8
CONFIG = BuildConfig(segment=SegmentConfig(min_segment_s=4.0))


class Scores:
    def __init__(self, num_windows: int):
        self.scores = self.local_scores = np.full(num_windows, 0.9)
        self.hop_s = self.step_s = 1.0


class EvenClassifier:
    """Calls everything piano: the benchmark measures the engine, not the classifier."""

    sample_rate = RATE

    def score_blocks(self, blocks) -> Scores:
        return Scores(-(-sum(len(block) for block in blocks) // RATE))

    def score_many(self, streams, num_readers: int):
        for key, open_blocks in streams:
            yield key, self.score_blocks(open_blocks())


class WaitingTranscriber:
    """Reads the audio, waits, and gives twenty notes."""

    name, sha256, sample_rate, num_channels = "waiting", "0" * 64, RATE, 1
    precision, correct_tuning = "float32", False
    window, hop, lead, batch_size, num_workers, num_readers = 10 * RATE, 10 * RATE, 0, 1, 1, 0

    def __init__(self, work_s: float):
        self.work_s = work_s

    def infer(self, windows: np.ndarray) -> list[None]:
        return [None] * len(windows)

    def decoder(self) -> WaitingTranscriber:
        return self

    def add(self, output: None) -> None:
        pass

    def finish(self) -> TranscriptionResult:
        time.sleep(self.work_s)
        return TranscriptionResult(
            Performance([Note(0.3 * index, 0.3 * index + 0.2, 60 + index % 12, 64) for index in range(20)])
        )


def bare_loop(source: Path, out: Path, work_s: float) -> float:
    """The same functions, one recording after the other, without flow, tables or manifest."""
    classifier, transcriber = EvenClassifier(), WaitingTranscriber(work_s)
    began = time.perf_counter()
    for candidate in collect_folder(source).candidates:
        screen(candidate, CONFIG.screen)
        path = from_location(candidate.location, out)
        recording, _ = ingest(candidate, path, CONFIG.ingest)
        with AudioReader(path, RATE, 1) as reader:
            found = classifier.score_blocks(block[:, 0] for block in reader.blocks())
        scored = Scored(found.scores, found.hop_s, found.local_scores, found.step_s, recording.duration_s)
        segments = find_segments(recording.recording_id, scored, CONFIG.segment)
        for segment in segments:
            ((_, result),) = transcribe_spans(transcriber, [span_of(path, segment)])
            transcription = save_transcription(out, segment, result, transcriber)
            with AudioReader(path, SAMPLE_RATE, 1) as reader:
                measure_segment(reader, segment, transcription, result.performance)
        annotate(candidate.title, candidate.description, candidate.uploader, {}, CONFIG.annotate)
    return time.perf_counter() - began


def with_flow(source: Path, out: Path, work_s: float) -> tuple[float, float]:
    """The build as a user runs it. Gives (total seconds, seconds outside the stages)."""
    from flows.cli import jobs
    from flows.engine.stages import BuildContext
    from flows.executors import local

    local.PLACED = frozenset()  # a process of its own would not have what stands in for the models
    BuildContext.classifier, BuildContext.classifier_sha256 = EvenClassifier(), "0"  # type: ignore[assignment]
    BuildContext.transcriber, BuildContext.transcriber_sha256 = WaitingTranscriber(work_s), "0"  # type: ignore[assignment]
    began = time.perf_counter()
    summary = jobs.run_build(source, out, None, ["segment.min_segment_s=4"])
    total_s = time.perf_counter() - began
    return total_s, total_s - sum(stage.seconds for stage in summary.stages.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=12)
    parser.add_argument("--work-s", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    bare, flow, starts = [], [], []
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "recordings"
            source.mkdir()
            for index in range(arguments.items):
                waveform = np.random.default_rng(index).normal(0, 0.1, RATE * SECONDS)
                soundfile.write(source / f"{index}.wav", waveform, RATE)
            bare.append(bare_loop(source, Path(folder) / "bare", arguments.work_s))
            total_s, start_s = with_flow(source, Path(folder) / "dataset", arguments.work_s)
            flow.append(total_s)
            starts.append(start_s)
    bare_s, flow_s, start_s = (statistics.median(times) for times in (bare, flow, starts))
    per_item_s = (flow_s - start_s - bare_s) / arguments.items
    print(f"{arguments.items} items of {arguments.work_s:g} s of work, median of {arguments.repeats}")
    print(f"bare loop                 {bare_s:8.2f} s")
    print(f"flow + tables             {flow_s:8.2f} s   ratio {flow_s / bare_s:.4f}")
    print(f"  once a build            {start_s:8.2f} s   (Prefect's API, imports, release)")
    print(f"  without that            {flow_s - start_s:8.2f} s   ratio {(flow_s - start_s) / bare_s:.4f}")
    print(f"  an item                 {per_item_s * 1000:8.1f} ms  = {per_item_s / 10:.3%} of 10 s of work")


if __name__ == "__main__":
    main()
