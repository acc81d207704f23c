"""What people's reviews say of a dataset: the precision of each subset, and of thresholds of each measure."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.errors import UsageError
from aria_data.manifest import Manifest
from aria_data.manifest.columns import is_subset
from aria_data.release.reviews import Reviews, reviewed

MEASURES = ("audio_score", "transcription_confidence", "onset_agreement", "chroma_agreement")
SUBSETS = ("in_pruned", "in_deduplicated", "in_unique")
NUM_THRESHOLDS = 8  # of a measure: quantiles of what was reviewed
Z_95 = 1.959964  # standard deviations on either side of 95 % of a normal distribution


@dataclass(frozen=True, slots=True)
class Precision:
    """How many of the reviewed rows of a choice are good, with Wilson's interval of 95 %."""

    name: str
    num_reviewed: int
    num_good: int
    precision: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """What is left of the reviewed rows where a measure is at least `threshold`."""

    measure: str
    threshold: float
    kept: Precision
    recall: float  # of the good ones


@dataclass(frozen=True, slots=True)
class Evaluation:
    subsets: list[Precision]
    thresholds: list[Threshold]
    faults: dict[str, int]
    num_unsure: int


def evaluate(root: Path, version: int | str | None = None) -> Evaluation:
    """Judge a version by the newest review of each row's music. Unsure ones count neither as good nor as bad.

    Raises `UsageError` where nothing was reviewed. Precision is that of a subset only if its rows were drawn at random.
    """
    manifest = Manifest(root)
    added = [name for name in manifest.column_names(version) if is_subset(name)]
    names = ["segment_id", "recording_id", "start_s", "end_s", *MEASURES, *SUBSETS, *added]
    rows = manifest.query("", version, columns=names).to_pylist()
    found = reviewed(rows, Reviews(root).all())
    judged = [(row, found[row["segment_id"]].verdict == "good") for row in rows if _is_judged(found, row)]
    if not judged:
        raise UsageError(f"{root}: no segment was reviewed as good or bad. `aria-data browse {root}` takes reviews.")
    choices = {"all": judged} | {name: [each for each in judged if each[0][name]] for name in [*SUBSETS, *added]}
    faults = Counter(fault for review in found.values() for fault in filter(None, review.faults.split("; ")))
    return Evaluation(
        [precision_of(name, [is_good for _, is_good in chosen]) for name, chosen in choices.items()],
        [each for measure in MEASURES for each in _thresholds(measure, judged)],
        dict(faults.most_common()),
        sum(review.verdict == "unsure" for review in found.values()),
    )


def _is_judged(found: dict[str, Any], row: dict[str, Any]) -> bool:
    return row["segment_id"] in found and found[row["segment_id"]].verdict in ("good", "bad")


def precision_of(name: str, is_good: list[bool]) -> Precision:
    """Precision with Wilson's interval, which holds for few and for extreme counts; 0 to 1 where there is none."""
    count, good = len(is_good), sum(is_good)
    if not count:
        return Precision(name, 0, 0, math.nan, 0.0, 1.0)
    share, z2 = good / count, Z_95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return Precision(name, count, good, share, max(0.0, middle - half), min(1.0, middle + half))


def _thresholds(measure: str, judged: list[tuple[dict[str, Any], bool]]) -> list[Threshold]:
    known = [(row[measure], is_good) for row, is_good in judged if row[measure] is not None]
    if not known:
        return []
    values = np.array([value for value, _ in known])
    num_good = sum(is_good for _, is_good in known)
    found = []
    for threshold in np.unique(np.quantile(values, np.linspace(0, 1, NUM_THRESHOLDS, endpoint=False), method="lower")):
        kept = precision_of(measure, [is_good for value, is_good in known if value >= threshold])
        found.append(Threshold(measure, float(threshold), kept, kept.num_good / num_good if num_good else math.nan))
    return found


def intervals(found: Evaluation) -> dict[str, list[tuple[str, float, float, float, str]]]:
    """What is drawn: for each picture its name, and of each line a name, a share, its interval, and words."""
    pictures = {"precision of subsets": [_interval(one.name, one) for one in found.subsets]}
    for each in found.thresholds:
        lines = pictures.setdefault(f"precision by {each.measure}", [])
        lines.append(_interval(f"at least {each.threshold:.4g}", each.kept))
    return pictures


def draw(found: Evaluation, folder: Path) -> list[Path]:
    """Write the pictures as SVG files, named by what they show. Gives the files written."""
    from aria_data.pictures import intervals_svg
    from aria_data.storage import write_whole

    written = []
    for title, lines in intervals(found).items():
        written.append(folder / f"{re.sub('[^a-z0-9]+', '_', title.lower()).strip('_')}.svg")
        write_whole(written[-1], intervals_svg(title, lines))
    return written


def _interval(name: str, one: Precision) -> tuple[str, float, float, float, str]:
    return name, one.precision, one.low, one.high, f"{one.num_good} of {one.num_reviewed} are good"


def as_json(found: Evaluation) -> dict[str, Any]:
    """The same as one JSON object; what there is nothing to compute of is null."""
    return _without_nan(asdict(found))


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def print_tables(found: Evaluation) -> None:
    """Print precision by subset, then by threshold, then what was wrong."""
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True, emoji=False)
    table = Table("subset", "reviewed", "good", "precision", "95 % interval", title="subsets", title_justify="left")
    for one in found.subsets:
        table.add_row(one.name, *_shown(one))
    console.print(table)
    table = Table(
        "measure", "at least", "reviewed", "good", "precision", "95 % interval", "recall", title_justify="left"
    )
    table.title = "thresholds"
    for each in found.thresholds:
        table.add_row(each.measure, f"{each.threshold:.4g}", *_shown(each.kept), f"{each.recall:.3f}")
    console.print(table)
    console.print(
        f"unsure: {found.num_unsure}", *(f"{name}: {count}" for name, count in found.faults.items()), sep="; "
    )


def _shown(one: Precision) -> tuple[str, str, str, str]:
    share = "" if math.isnan(one.precision) else f"{one.precision:.3f}"
    return str(one.num_reviewed), str(one.num_good), share, f"{one.low:.3f} to {one.high:.3f}"
