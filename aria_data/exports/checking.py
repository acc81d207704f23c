"""Verify an export: every listed file exists with its checksum, there is no other file, and row counts are right."""

from __future__ import annotations

import csv
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from aria_data.errors import DatasetCorrupt, DatasetNotFound
from aria_data.exports.writing import FACTS, LOCKS, SUMS
from aria_data.storage import printable, sha256_file

_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*)")


def verify(out: Path | str) -> dict[str, Any]:
    """Check the export at `out`, and give the facts in its `export.json`.

    Raises `DatasetCorrupt`, which names the first file that is missing, differs, is not listed or has another number of
    rows, and `DatasetNotFound` if there is no export.
    """
    root = Path(out)
    sums = _read_sums(root)
    for name, expected in sums.items():
        path = root / name
        try:
            found = sha256_file(path)
        except OSError as error:
            raise DatasetCorrupt(f"{path}: cannot be read ({error.strerror}). Export again.") from error
        if found != expected:
            raise DatasetCorrupt(f"{path}: is damaged: its sha256 is {found}, not {expected}. Export again.")
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not path.is_dir() and name not in sums and name not in (SUMS, *LOCKS):
            raise DatasetCorrupt(f"{printable(str(path))}: is no file of the export. Take it away.")
    facts = _read_facts(root, sums)
    _check_counts(root, sums, facts)
    return facts


def _read_sums(root: Path) -> dict[str, str]:
    try:
        lines = (root / SUMS).read_bytes().decode("ascii").split("\n")
    except OSError as error:
        raise DatasetNotFound(f"{root}: holds no export: {SUMS} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise DatasetCorrupt(f"{root / SUMS}: is damaged. Export again.") from error
    sums: dict[str, str] = {}
    if lines.pop():
        raise DatasetCorrupt(f"{root / SUMS}: does not end with a line. Export again.")
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if not match or ".." in match[2].split("/"):
            raise DatasetCorrupt(f"{root / SUMS}:{number}: is no line of checksum and file. Export again.")
        sums[match[2]] = match[1]
    if FACTS not in sums:
        raise DatasetCorrupt(f"{root / SUMS}: does not name {FACTS}. Export again.")
    return sums


def _read_facts(root: Path, sums: dict[str, str]) -> dict[str, Any]:
    try:
        facts = json.loads((root / FACTS).read_text(encoding="utf-8"))
        is_usable = isinstance(facts["num_rows"], int) and all(
            name in sums and isinstance(counts["num_rows"], int) for name, counts in facts["files"].items()
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        is_usable = False
    if not is_usable:
        raise DatasetCorrupt(f"{root / FACTS}: does not say how many rows the export's files have. Export again.")
    return facts


def _check_counts(root: Path, sums: dict[str, str], facts: dict[str, Any]) -> None:
    num_midi = sum(name.endswith(".mid") for name in sums)
    for name, counts in facts["files"].items():
        num_rows, num_midi_in_file = _count(root / name)
        num_midi += num_midi_in_file
        if num_rows != counts["num_rows"]:
            raise DatasetCorrupt(f"{root / name}: has {num_rows} rows, but {FACTS} says {counts['num_rows']}.")
    if num_midi != facts["num_rows"]:
        raise DatasetCorrupt(f"{root}: has {num_midi} MIDI files, but {FACTS} says {facts['num_rows']}.")


def _count(path: Path) -> tuple[int, int]:
    """Give (rows, MIDI files inside) of a file that holds many rows."""
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return (pq.read_metadata(path).num_rows,) * 2
        if path.suffix == ".tar":
            with tarfile.open(path, "r:") as tar:
                return (sum(entry.name.endswith(".mid") for entry in tar),) * 2
        if path.suffix == ".jsonl":
            with open(path, "rb") as file:
                return (sum(1 for _ in file),) * 2
        if path.suffix == ".csv":
            with open(path, encoding="utf-8", newline="") as text:
                return sum(1 for _ in csv.reader(text)) - 1, 0
        recordings = json.loads(path.read_text(encoding="utf-8"))
        return sum(len(entry["audio_scores"]) for entry in recordings.values()), 0
    except (OSError, ValueError, KeyError, tarfile.TarError, pa.ArrowException) as error:
        raise DatasetCorrupt(f"{path}: cannot be counted ({' '.join(str(error).split())[:160]}).") from error
