"""The differences between two versions, each with its reason, and how they are printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from aria_data.manifest import Manifest
from aria_data.manifest.manifest import Difference, columns
from aria_data.records import Rejection
from aria_data.storage import printable
from aria_data.storage.stage_tables import RecordTable

MAX_LINES = 50  # of rows added, removed and changed each; --json has all
CAUSES = (  # of a change, by the columns that differ; the first that fits is named first
    ("cut otherwise", ("start_s", "end_s", "duration_s")),
    ("transcribed again", ("midi_sha256", "transcriber", "transcriber_sha256")),
    ("judged again by the classifier", ("audio_score", "classifier_sha256")),
    ("other tags", ("composer", "composer_id", "performer", "performer_id", "title", "catalogue", "catalogue_number")),
    ("other tags", ("piece_number", "movement", "form", "genre", "period", "key", "composition_id")),
    ("other clusters", ("audio_cluster", "recording_cluster", "notes_cluster", "is_cluster_lead")),
    ("another exclusion list", ("excluded_by",)),
    ("linked now to rows of a stricter split", ("split",)),
)


@dataclass(frozen=True, slots=True)
class Reasons:
    """For each kind of difference, `{segment_id: why}`."""

    added: dict[str, str]
    removed: dict[str, str]
    changed: dict[str, str]


def reasons_of(root: Path, difference: Difference, old: int | str, new: int | str) -> Reasons:
    """Give the reason of each difference, as far as the tables hold it. The newest rejections explain removed rows."""
    manifest = Manifest(root)
    known = set(manifest.query("", old, columns=["recording_id"])["recording_id"].to_pylist())
    added = {
        key: "another segment" if key.rpartition("_")[0] in known else "a new recording" for key in difference.added
    }
    empty = _only_empty(manifest, difference.changed, old, new)
    changed = {key: _cause(set(names) - empty.get(key, set())) for key, names in difference.changed.items()}
    return Reasons(added, _why_removed(root, manifest, difference.removed, new), changed)


def _why_removed(root: Path, manifest: Manifest, ids: Iterable[str], new: int | str) -> dict[str, str]:
    stones = manifest.query("removed_in IS NOT NULL", new, columns=["segment_id", "removal_reason"]).to_pylist()
    reasons = {row["segment_id"]: f"removed: {row['removal_reason']}" for row in stones}
    rejected = {one.item_id: f"{one.stage}: {one.reason}" for one in RecordTable(root, "rejections", Rejection).read()}
    return {
        key: reasons.get(key)
        or rejected.get(key)
        or rejected.get(key.rpartition("_")[0])
        or "no longer found in its recording"
        for key in ids
    }


def _only_empty(
    manifest: Manifest, changed: Mapping[str, Iterable[str]], old: int | str, new: int | str
) -> dict[str, set[str]]:
    """For each changed row, the text columns that are empty in both versions, as missing or as "": no real change."""
    texts = {column["name"] for column in columns() if column["type"] == "string"}
    found: dict[str, set[str]] = {}
    for name in sorted(set().union(*changed.values()) & texts):
        was, now = (_filled(manifest, name, version) for version in (old, new))
        for key, names in changed.items():
            if name in names and key not in was and key not in now:
                found.setdefault(key, set()).add(name)
    return found


def _filled(manifest: Manifest, name: str, version: int | str) -> set[str]:
    """The rows of a version whose column `name` holds any text."""
    table = manifest.query("", version, columns=["segment_id", name])
    is_filled = pc.fill_null(pc.not_equal(table[name], ""), False)
    return set(table.filter(is_filled)["segment_id"].to_pylist())


def _cause(names: Iterable[str]) -> str:
    """The reasons why these columns differ, joined by "and"."""
    named, left = [], set(names)
    if not left:
        return "new columns"
    if "excluded_by" in left:  # which decides the split
        left.discard("split")
    for cause, its_columns in CAUSES:
        if left & set(its_columns):
            named.append(cause)
            left -= set(its_columns)
    if not named:
        subsets = sorted(name for name in left if name.startswith("in_"))
        named = [f"subset {', '.join(subsets)}" if subsets else f"other {', '.join(sorted(left))}"]
    return " and ".join(dict.fromkeys(named))


def show(difference: Difference, reasons: Reasons, effects: Callable[[], None] = lambda: None) -> None:
    """Print counts by reason, then what `effects` prints, then one line for each segment."""
    for word, by_id in (("added", reasons.added), ("removed", reasons.removed), ("changed", reasons.changed)):
        print(f"{word} {len(by_id)}")
        for reason, num in Counter(by_id.values()).most_common():
            print(f"  {num:>7,} {printable(reason)}")
    effects()
    for sign, by_id in (("+", reasons.added), ("-", reasons.removed), ("~", reasons.changed)):
        _lines(sign, by_id, difference.changed)


def _lines(sign: str, by_id: Mapping[str, str], changed: Mapping[str, list[str]]) -> None:
    for segment_id, reason in list(by_id.items())[:MAX_LINES]:
        columns = f" ({', '.join(changed[segment_id])})" if segment_id in changed else ""
        print(f"{sign} {segment_id}: {printable(reason)}{columns}")
    if len(by_id) > MAX_LINES:
        print(f"{sign} ... and {len(by_id) - MAX_LINES:,} more; --json lists all")
