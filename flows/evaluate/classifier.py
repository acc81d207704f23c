"""Accuracy of the classifier on labelled recordings: `aria-data evaluate classifier`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aria_data.audio import mono_blocks
from aria_data.errors import AriaDataError, UsageError
from aria_data.segment import Scored, SegmentConfig, find_segments
from aria_data.segment.accuracy import SecondsFit, SegmentFit, Span, fit_of_seconds, fit_of_segments
from aria_data.storage import as_on_disk, printable
from flows.evaluate.published_rules import AriaRule, aria_segments, giantmidi_segments
from flows.tools.classify_files import NUM_READERS, judged

if TYPE_CHECKING:
    from classifiers.evaluate import ClipResult, Labelled
    from classifiers.predict import Classifier, WindowScores

PIANO = "piano"
OURS = "ours"


@dataclass(frozen=True)
class Clip:
    """A labelled span, its window scores, and for each rule whether it keeps the span as solo piano."""

    result: ClipResult
    kept_by: dict[str, bool]


@dataclass(frozen=True)
class Programme:
    """A file with the true spans of solo piano, and the spans that each rule found."""

    file: str
    true: list[Span]
    found: dict[str, list[Span]]

    def segments(self, rule: str) -> list[SegmentFit]:
        return fit_of_segments(self.true, self.found[rule])

    def seconds(self, rule: str) -> SecondsFit:
        return fit_of_seconds(self.true, self.found[rule])


@dataclass(frozen=True)
class Evaluation:
    """All results; `wrong` maps files that could not be read, and rows past a file's end, to messages."""

    clips: list[Clip]
    programmes: list[Programme]
    wrong: dict[str, str]


def read_labels(path: Path) -> list[Labelled]:
    """Read the rows of a labels CSV. Raises `UsageError` where it cannot be read, is malformed or empty."""
    from classifiers.evaluate import read_rows

    try:
        rows = read_rows(path)
    except OSError as error:
        raise UsageError(f"{printable(str(path))}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not rows:
        raise UsageError(f"{printable(str(path))}: has no rows.")
    return rows


def require_apart(path: Path, rows: Sequence[Labelled]) -> None:
    """Raise `UsageError` where two rows of one file overlap: their boundaries would count twice."""
    last: dict[str, float] = {}
    for row in sorted(rows, key=lambda row: (row.file, row.start_s)):
        if row.start_s < last.get(row.file, 0.0) - 1e-6:
            name = printable(row.file)
            raise UsageError(
                f"{printable(str(path))}: two rows of {name} overlap at {row.start_s:g} s. Correct the table."
            )
        last[row.file] = float("inf") if row.end_s is None else row.end_s


def rules_of(config: SegmentConfig) -> dict[str, Callable[[Scored], list[Span]]]:
    """Our rule and the published ones by name. Aria-MIDI's gets our shortest segment; GiantMIDI's has no such limit."""
    aria = replace(AriaRule(), min_segment_s=config.min_segment_s)
    return {
        OURS: lambda scored: [(item.start_s, item.end_s) for item in find_segments("", scored, config)],
        "Aria-MIDI": functools.partial(aria_segments, rule=aria),
        "GiantMIDI": giantmidi_segments,
    }


def evaluate(
    labels: Sequence[Labelled], segments: Sequence[Labelled], root: Path, classifier: Classifier, config: SegmentConfig
) -> Evaluation:
    """Score every file once. Rows of `labels` are evaluated as clips, files of `segments` as programmes.

    File names are below `root`.
    """
    files = list(dict.fromkeys(row.file for row in (*labels, *segments)))
    streams = ((name, functools.partial(mono_blocks, as_on_disk(root, name), classifier.sample_rate)) for name in files)
    scored: dict[str, WindowScores] = {}
    wrong: dict[str, str] = {}
    for name, found in classifier.score_many(streams, NUM_READERS):
        if isinstance(found, AriaDataError):
            wrong[name] = str(found)
        elif isinstance(found, Exception):
            wrong[name] = f"{printable(name)}: unexpected {type(found).__name__}: {printable(str(found))}"
        else:
            scored[name] = found
    for row in (*labels, *segments):
        if row.file in scored and row.start_s >= scored[row.file].duration_s:
            lasts_s = scored[row.file].duration_s
            message = f"{printable(row.file)}: lasts {lasts_s:.1f} s, but a row begins at {row.start_s:g} s."
            wrong[f"{row.file} from {row.start_s:g} s"] = message
    labels, segments = (
        [row for row in rows if row.file not in scored or row.start_s < scored[row.file].duration_s]
        for rows in (labels, segments)
    )
    rules = rules_of(config)
    clips = [_clip(row, scored[row.file], config, rules) for row in labels if row.file in scored]
    true: dict[str, list[Span]] = {row.file: [] for row in segments if row.file in scored}
    for row in segments:
        if row.file in scored and row.label == PIANO:
            lasts_s = scored[row.file].duration_s
            true[row.file].append((row.start_s, lasts_s if row.end_s is None else min(row.end_s, lasts_s)))
    programmes = [
        Programme(name, spans, {rule: find(Scored.of(scored[name])) for rule, find in rules.items()})
        for name, spans in true.items()
    ]
    return Evaluation(clips, programmes, wrong)


def _clip(
    row: Labelled, found: WindowScores, config: SegmentConfig, rules: Mapping[str, Callable[[Scored], list[Span]]]
) -> Clip:
    from classifiers.evaluate import clip_result, span_of

    span = span_of(row, found)
    kept_by = {rule: bool(find(Scored.of(span))) for rule, find in rules.items()}
    kept_by[OURS] = bool(judged(row.file, span, config).is_solo_piano)
    return Clip(clip_result(row, found), kept_by)


def shares_by_rule(clips: Sequence[Clip]) -> dict[str, dict[str, tuple[int, int]]]:
    """rule -> label -> (clips rightly kept or removed, clips)."""
    table: dict[str, dict[str, tuple[int, int]]] = {}
    for rule in clips[0].kept_by if clips else ():
        row = table[rule] = {}
        for label in sorted({clip.result.label for clip in clips}, key=lambda label: (label != PIANO, label)):
            labelled = [clip for clip in clips if clip.result.label == label]
            row[label] = sum(clip.kept_by[rule] == (label == PIANO) for clip in labelled), len(labelled)
    return table


def programme_figures(programmes: Sequence[Programme], rule: str) -> dict[str, float]:
    """Mean IoU of the true segments, IoU of seconds, and the median distance of boundaries of matched segments.

    NaN where there is nothing to average.
    """
    fits = [fit for programme in programmes for fit in programme.segments(rule)]
    seconds = [programme.seconds(rule) for programme in programmes]
    total = SecondsFit(*(sum(getattr(one, name) for one in seconds) for name in ("found_s", "missed_s", "false_s")))
    errors = [abs(error) for fit in fits for error in (fit.start_error_s, fit.end_error_s) if error is not None]
    return {
        "mean_segment_iou": float(np.mean([fit.iou for fit in fits])) if fits else float("nan"),
        "seconds_iou": total.iou,
        "median_boundary_error_s": float(np.median(errors)) if errors else float("nan"),
        "missed_s": total.missed_s,
        "false_s": total.false_s,
        "num_true": len(fits),
        "num_found": sum(len(programme.found[rule]) for programme in programmes),
    }


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Give the results as plain values; undefined figures are None."""
    from classifiers import evaluate as clips_of

    results = [clip.result for clip in evaluation.clips]
    rules = list(rules_of(SegmentConfig()))
    figures = {
        "clips": [asdict(clip.result) | {"kept_by": clip.kept_by} for clip in evaluation.clips],
        "by_rule": shares_by_rule(evaluation.clips),
        "by_threshold": [asdict(row) for row in clips_of.figures_by_threshold(results)],
        "auc": clips_of.area_under_curve(results),
        "any_piano_auc": clips_of.any_piano_auc(results),
        "calibration": asdict(clips_of.calibration(results)),
        "confusion": {label: dict(row) for label, row in clips_of.confusion(results).items()},
        "programmes": [asdict(programme) for programme in evaluation.programmes],
        "segments": {rule: programme_figures(evaluation.programmes, rule) for rule in rules},
        "wrong": evaluation.wrong,
    }
    return _finite(figures)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def print_tables(evaluation: Evaluation) -> None:
    """Print tables: clips by rule, by threshold and by cause, calibration, the mistakes, and the segments."""
    console = Console(soft_wrap=True, emoji=False, markup=False, width=None if sys.stdout.isatty() else 160)
    if evaluation.clips:
        _print_clips(console, evaluation.clips)
    if evaluation.programmes:
        _print_programmes(console, evaluation.programmes)


def _print_clips(console: Console, clips: Sequence[Clip]) -> None:
    from classifiers import evaluate as clips_of

    results = [clip.result for clip in clips]
    by_rule = shares_by_rule(clips)
    labels = list(by_rule[OURS])
    rows = [[rule, *(f"{right} of {count}" for right, count in row.values())] for rule, row in by_rule.items()]
    console.print(_table("clips rightly kept or removed, by rule", ["rule", *labels], rows))
    rows = [
        [f"{row.threshold:.2f}", *(_number(value) for value in (row.precision, row.recall, row.removed))]
        for row in clips_of.figures_by_threshold(results)
    ]
    console.print(_table("mean score at least", ["threshold", "precision", "recall", "others removed"], rows))
    confusion = clips_of.confusion(results)
    causes = sorted({cause for row in confusion.values() for cause in row}, key=lambda cause: (cause != PIANO, cause))
    rows = [[label, *(str(confusion[label][cause] or "") for cause in causes)] for label in labels]
    console.print(_table("classified as", ["label", *causes], rows))
    ece = clips_of.calibration(results).ece
    auc, any_piano_auc = clips_of.area_under_curve(results), clips_of.any_piano_auc(results)
    console.print(f"AUC {_number(auc)}, of any piano {_number(any_piano_auc)}; calibration error (ECE) {_number(ece)}")
    for clip in sorted(clips, key=lambda clip: clip.result.mean_score):
        if clip.kept_by[OURS] != (clip.result.label == PIANO):
            side = "kept" if clip.kept_by[OURS] else "removed"
            result = f"{clip.result.label}, {clip.result.mean_score:.3f}, classified as {clip.result.main_cause}"
            console.print(f"wrongly {side}: {printable(clip.result.file, 60)} ({result})", highlight=False)


def _print_programmes(console: Console, programmes: Sequence[Programme]) -> None:
    figures = {rule: programme_figures(programmes, rule) for rule in programmes[0].found}
    names = list(figures[OURS])
    rows = [[rule, *(_number(row[name]) for name in names)] for rule, row in figures.items()]
    console.print(_table("segments", ["rule", *names], rows))
    rows = [
        [printable(programme.file, 40), f"{fit.start_s:.2f}-{fit.end_s:.2f}", _number(fit.iou)]
        + [_number(error) for error in (fit.start_error_s, fit.end_error_s)]
        for programme in programmes
        for fit in programme.segments(OURS)
    ]
    console.print(_table("ours, by true segment", ["file", "true", "IoU", "start error (s)", "end error (s)"], rows))


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in names:
        table.add_column(name.replace("_", " "), justify="left" if name == names[0] else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _number(value: float | None) -> str:
    if value is None or np.isnan(value):
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
