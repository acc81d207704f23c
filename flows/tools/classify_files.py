"""From audio files to spans of solo piano, without a dataset: `aria-data classify`."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aria_data.audio import Decoded, IntegrityLimits, mono_blocks, probe
from aria_data.collect.folder import audio_files
from aria_data.config import load_config
from aria_data.errors import AriaDataError, PermanentError, TemporaryError, UsageError
from aria_data.segment import Scored, SegmentConfig, find_segments
from aria_data.segment.segmentation import piano_share
from aria_data.storage import printable
from flows.show.progress_bars import Progress, duration

if TYPE_CHECKING:
    from classifiers.predict import Classifier, WindowScores

MIN_PIANO_SHARE = 0.5  # of the time that is not silence, for a file to count as solo piano
NUM_READERS = 2
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClassifiedFile:
    """The result for one file. Without an `error`, all of the file was classified."""

    file: str
    audio_score: float | None = None  # mean window score of the segments; of the whole file where there are none
    is_solo_piano: bool | None = None
    segments: list[dict[str, float]] = field(default_factory=list)  # start_s, end_s, audio_score
    main_cause: str = ""  # the cause with the largest mean probability
    duration_s: float = 0.0
    error: str = ""
    note: str = ""  # what is odd about the file, and how it was read all the same

    def as_json(self) -> dict[str, Any]:
        row = asdict(self)
        return {name: value for name, value in row.items() if value or name not in ("error", "note")}


def plan(given: Sequence[Path]) -> list[Path]:
    """The files given, and the audio files below folders given, each once. Raises `UsageError` when there are none."""
    found = list(dict.fromkeys(path for one in given for path in audio_files(one)))
    if not found:
        raise UsageError(f"{printable(str(given[0]))}: holds no audio files.")
    return found


def segment_config(settings: Sequence[str], min_segment_s: float | None) -> SegmentConfig:
    """The default settings with changes such as `max_gap_s=8`. Raises `ConfigInvalid` for a wrong one."""
    changes = [f"segment.{setting}" for setting in settings]
    changes += [f"segment.min_segment_s={min_segment_s}"] if min_segment_s is not None else []
    return load_config(None, changes).segment


def load_classifier(weights: Path | None, device: str) -> Classifier:
    """Load the classifier's weights, by default those of this project.

    Raises `UsageError` for a file that is no checkpoint or a device that cannot be used.
    """
    from classifiers.checkpoint import CheckpointInvalid
    from classifiers.predict import Classifier, DeviceInvalid

    try:
        return Classifier.load(weights, device)
    except (CheckpointInvalid, DeviceInvalid) as error:
        raise UsageError(str(error)) from None


def classify_files(
    paths: Iterable[Path], classifier: Classifier, config: SegmentConfig, progress: Progress
) -> Iterator[ClassifiedFile]:
    """Give each file's result as soon as it is known; for a file that cannot be read, one with an `error`."""
    durations: dict[Path, float] = {}
    for path in paths:
        try:
            durations[path] = probe(path).duration_s or 0.0
        except AriaDataError as error:
            yield ClassifiedFile(str(path), error=_with_name(path, str(error)))
    read: dict[Path, Decoded] = {}
    open_file = functools.partial(mono_blocks, sample_rate=classifier.sample_rate, limits=IntegrityLimits(), found=read)
    with progress.stage("classify", len(durations), sum(durations.values()), 0):
        streams = ((str(path), functools.partial(open_file, path)) for path in durations)
        for file, found in classifier.score_many(streams, NUM_READERS):
            progress.advance(durations[Path(file)])
            if isinstance(found, Exception):
                yield _failed(file, found)
            else:
                yield replace(judged(file, found, config), note="; ".join(read.pop(Path(file)).notes))


def judged(file: str, found: WindowScores, config: SegmentConfig) -> ClassifiedFile:
    """Segments by the rules of a build, and whether the file as a whole, however short, is solo piano.

    It is where piano takes at least `MIN_PIANO_SHARE` of the time that is not silence, and the mean score of that
    time is at least `config.min_segment_score`.
    """
    scored = Scored.of(found)
    segments = find_segments(file, scored, config)
    lengths_s = np.array([segment.end_s - segment.start_s for segment in segments])
    means = np.array([segment.audio_score for segment in segments])
    whole = float(found.scores.mean()) if len(found.scores) else 0.0
    score = float((means * lengths_s).sum() / lengths_s.sum()) if segments else whole
    piano_s = piano_share(scored, config) * found.duration_s
    sounding = sounding_scores(found)
    sounding_s = max(len(sounding) * found.hop_s, piano_s)
    is_sure = len(sounding) > 0 and float(sounding.mean()) >= config.min_segment_score
    return ClassifiedFile(
        file,
        round(score, 4),
        bool(is_sure and piano_s >= MIN_PIANO_SHARE * sounding_s),
        [
            {"start_s": round(item.start_s, 3), "end_s": round(item.end_s, 3), "audio_score": item.audio_score}
            for item in segments
        ],
        found.main_cause,
        round(found.duration_s, 3),
    )


def sounding_scores(found: WindowScores) -> np.ndarray:
    """The scores of the windows whose most probable cause is not silence."""
    if not len(found.scores):
        return found.scores
    return found.scores[found.causes.argmax(axis=1) != found.cause_names.index("silence")]


def _failed(file: str, error: Exception) -> ClassifiedFile:
    path = Path(file)
    if isinstance(error, PermanentError | TemporaryError):
        return ClassifiedFile(file, error=_with_name(path, str(error)))
    log.error("%s", printable(path.name), exc_info=error)
    return ClassifiedFile(
        file, error=f"{printable(path.name)}: unexpected {type(error).__name__}: {printable(str(error))}"
    )


def _with_name(path: Path, message: str) -> str:
    name = printable(path.name)
    return message if name in message else f"{name}: {message}"


def print_table(results: Sequence[ClassifiedFile], took_s: float) -> None:
    """Print a row for each file without an error, and the speed."""
    console = Console(soft_wrap=True, emoji=False, markup=False, width=None if sys.stdout.isatty() else 140)
    table = Table(box=None, pad_edge=False)
    for name in ("file", "length", "audio score", "solo piano", "mostly", "segments"):
        table.add_column(name, justify="right" if name in ("length", "audio score") else "left")
    for result in results:
        if result.error:
            continue
        spans = ", ".join(f"{_clock(item['start_s'])}-{_clock(item['end_s'])}" for item in result.segments)
        table.add_row(
            Text(printable(result.file, 60)),
            duration(result.duration_s),
            f"{result.audio_score:.3f}",
            "yes" if result.is_solo_piano else "no",
            result.main_cause.replace("_", " "),
            spans or "none",
        )
    console.print(table)
    total_s = sum(result.duration_s for result in results)
    console.print(f"{duration(total_s)} of audio in {duration(took_s)}: {total_s / max(took_s, 1e-9):.0f}x real time")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}"
