"""A manifest of a million rows: write, append, query, figures, diff, a new subset; beside one JSON file.

    python benchmarks/manifest_scale.py [--rows 1000000] [--without-json] [--only-changes] [--change-rows 200000]

Every step runs in a process of its own, whose peak memory is printed. The rows are made beforehand, into a Parquet file
that the steps read in batches. The peer is `json.load` of the same rows in one file and a comprehension over them,
which is how Aria-MIDI's metadata is read.

Then the commands that change a dataset or give it on, `remove`, `subset` and `export`, on a dataset of 200,000 rows
with the tables of its candidates, recordings and measures, as a user runs them: the time is that of the whole process.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

COMPOSERS = ["chopin", "bach_js", "beethoven", "debussy", "liszt", "schubert", "joplin", "satie", ""]
WHERE = "composer_id = 'chopin' AND audio_score > 0.99 AND in_deduplicated"
LIMITS = {"query s": 1.0, "append 1,000 s": 5.0, "diff s": 10.0, "peak GB": 2.0, "query times JSON": 20.0}
BATCH_ROWS = 10_000
ADDED = ("in_tenth", "weight_chance")


def rows(start: int, stop: int) -> pa.Table:
    """Made-up rows that resemble real ones: long hashes, free titles, numbers of every type."""
    from aria_data.manifest.manifest import arrow_schema

    count, numbers = stop - start, np.arange(start, stop)
    random = np.random.default_rng(start)
    ids = [f"youtube-{number:011x}" for number in numbers]
    hashes = [f"{int(number) * 2654435761 % 2**64:016x}" * 4 for number in numbers]
    special: dict[str, Any] = {
        "segment_id": [f"{one}_0" for one in ids],
        "recording_id": ids,
        "number": np.zeros(count, np.int64),
        "midi_path": [f"midi/{one[:2]}/{name}_0.{one[:8]}.mid" for one, name in zip(hashes, ids, strict=True)],
        "composer_id": random.choice(COMPOSERS, count),
        "title": [f"Piece No. {number} in {'CDEFGAB'[number % 7]} minor, Op. {number % 90}" for number in numbers],
        "source_url": [f"https://example.org/watch?v={one}" for one in ids],
        "removed_in": pa.nulls(count, pa.int64()),
        "removal_reason": pa.nulls(count, pa.string()),
        "first_version": np.ones(count, np.int64),
    }
    columns = []
    for field in arrow_schema():
        if field.name in special:
            columns.append(pa.array(special[field.name], field.type))
        elif field.name.endswith("sha256") or field.name.endswith("cluster"):
            columns.append(pa.array(hashes, field.type))
        elif pa.types.is_string(field.type):
            columns.append(pa.array(random.choice(["", "classical", "sonata", "op"], count), field.type))
        elif pa.types.is_boolean(field.type):
            columns.append(pa.array(random.random(count) < 0.5))
        elif pa.types.is_integer(field.type):
            columns.append(pa.array(random.integers(0, 5000, count), field.type))
        else:
            columns.append(pa.array(np.round(random.random(count), 6), field.type))
    return pa.Table.from_arrays(columns, schema=arrow_schema())


def make(root: Path, count: int) -> int:
    import pyarrow.parquet as pq

    from aria_data.manifest.manifest import arrow_schema

    with pq.ParquetWriter(root / "rows.parquet", arrow_schema()) as file:
        for start in range(0, count, BATCH_ROWS):
            file.write_table(rows(start, min(count, start + BATCH_ROWS)))
    return count


def batches(root: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    return pq.ParquetFile(root / "rows.parquet").iter_batches(BATCH_ROWS)


def batches_with_subset(root: Path) -> Iterator[pa.RecordBatch]:
    """The same rows with a subset and a weight, so that every row changes."""
    for number, batch in enumerate(batches(root)):
        random = np.random.default_rng(number)
        is_in, weight = random.random(len(batch)) < 0.1, random.random(len(batch))
        yield batch.append_column(ADDED[0], pa.array(is_in)).append_column(ADDED[1], pa.array(weight))


def write(root: Path, count: int) -> int:
    from aria_data.manifest import Manifest

    return Manifest(root).commit(lambda: batches(root))


def append(root: Path, count: int) -> int:
    from aria_data.manifest import Manifest

    return Manifest(root).append(rows(count, count + 1000).to_pylist(), "a thousand more")


def query(root: Path, count: int) -> int:
    from aria_data.manifest import Manifest

    return Manifest(root).query(WHERE).num_rows


def stats(root: Path, count: int) -> int:
    from aria_data.manifest import Dataset

    return Dataset(root).stats()["num_files"]


def stats_where(root: Path, count: int) -> int:
    from aria_data.manifest import Dataset

    return Dataset(root).stats("in_deduplicated")["num_files"]


def diff(root: Path, count: int) -> int:
    from aria_data.manifest import Manifest

    return len(Manifest(root).diff(1, 2).added)


def add_subset(root: Path, count: int) -> int:
    from aria_data.manifest import Manifest

    return Manifest(root).commit(lambda: batches_with_subset(root))


def query_subset(root: Path, count: int) -> int:
    from aria_data.manifest import Manifest

    return Manifest(root).query(f"{ADDED[0]} AND {ADDED[1]} > 0.99").num_rows


def diff_all(root: Path, count: int) -> int:
    from aria_data.manifest import Manifest

    return len(Manifest(root).diff(1, 3).changed)


def write_json(root: Path, count: int) -> int:
    with open(root / "all.json", "w", encoding="utf-8") as file:
        file.write("[")
        for number, batch in enumerate(batches(root)):
            lines = ",\n".join(json.dumps(row) for row in batch.to_pylist())
            file.write(("," if number else "") + lines)
        file.write("]")
    return (root / "all.json").stat().st_size


def query_json(root: Path, count: int) -> int:
    with open(root / "all.json", encoding="utf-8") as file:
        rows = json.load(file)
    return sum(r["composer_id"] == "chopin" and r["audio_score"] > 0.99 and r["in_deduplicated"] for r in rows)


# ---------------------------------------------------------------- commands, on a dataset with tables and MIDI files


def make_dataset(root: Path, count: int) -> int:
    """A dataset of `count` rows and candidates; the rows share 100 short MIDI files."""
    from aria_data.manifest import Manifest
    from aria_data.measure import MEASURES
    from aria_data.records import Candidate, Measurement, Recording

    pool = [_midi_file(root, number) for number in range(100)]
    paths, hashes = (pa.array([one[place] for one in pool]) for place in (0, 1))

    def with_midi() -> Iterator[pa.Table]:
        for start in range(0, count, BATCH_ROWS):
            table = rows(start, min(count, start + BATCH_ROWS))
            places = pa.array([number % len(pool) for number in range(len(table))])
            splits = pa.array(np.random.default_rng(start).choice(["train", "validation", "test"], len(table)))
            for name, values in (
                ("midi_path", paths.take(places)),
                ("midi_sha256", hashes.take(places)),
                ("split", splits),
            ):
                table = table.set_column(table.schema.get_field_index(name), name, values)
            yield table

    Manifest(root).commit(with_midi)
    random = np.random.default_rng(0)
    for start in range(0, count, BATCH_ROWS):
        ids = [(f"youtube-{number:011x}", number) for number in range(start, min(count, start + BATCH_ROWS))]
        urls = {one: f"https://example.org/watch?v={one}" for one, _ in ids}
        said = "A description as long as those of the web. " * 10
        _append(root, "collect", [Candidate(one, "youtube", urls[one], urls[one], f"No. {n}", said) for one, n in ids])
        _append(
            root,
            "ingest",
            [
                Recording(one, one, urls[one], "a" * 64, "b" * 64, 300.0, 44100, 2, "flac", -20.0, -1.0)
                for one, _ in ids
            ],
        )
        values = random.random((len(ids), len(MEASURES))) * 100
        measures = [dict(zip(MEASURES, map(float, each), strict=True)) for each in values]
        _append(root, "measure", [Measurement(f"{one}_0", each) for (one, _), each in zip(ids, measures, strict=True)])
    return count


def _midi_file(root: Path, number: int) -> tuple[str, str]:
    from aria_data.midi import Note, Performance, midi_bytes

    content = midi_bytes(Performance([Note(0.5 * i, 0.5 * i + 0.4, 40 + (number + i) % 48, 64) for i in range(20)]))
    path = root / "midi" / f"{number}.mid"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return f"midi/{number}.mid", hashlib.sha256(content).hexdigest()


def _append(root: Path, stage: str, records: list[Any]) -> None:
    from aria_data.storage.stage_tables import DONE, Outcome, StageTable

    name = "segment_id" if stage == "measure" else "candidate_id"
    items = [(getattr(record, name), record) for record in records]
    StageTable(root, stage, type(records[0])).append(Outcome(one, one, DONE, record=record) for one, record in items)


COMMANDS = (  # name, arguments after the dataset's folder; each dataset has a version more than the one before
    ("remove a recording", "remove", "youtube-00000000007", "--reason", "takedown"),
    ("remove an address", "remove", "https://example.org/watch?v=youtube-00000000011", "--reason", "takedown"),
    ("subset, condition", "subset", "sure", "--where", "audio_score > 0.5"),
    ("subset, limits", "subset", "heavy", "--limits", "heavy", "--max-per-composition", "3"),
    ("subset, deleted", "subset", "sure", "--delete"),
    ("export aria-jsonl", "export", "--format", "aria-jsonl", "--out", "OUT"),
)
COMMAND_LIMITS = {"remove": (10.0, 1.0), "subset": (10.0, 1.0), "export": (float("inf"), 1.0)}  # s, GB


def measure_commands(root: Path, count: int) -> None:
    """Run each command as a process, and print its time and peak memory beside the limits."""
    run(make_dataset, root / "dataset", count)
    print(f"\n{count:,} rows")
    for name, command, *rest in COMMANDS:
        arguments = [str(root / "out") if one == "OUT" else one for one in rest]
        took_s, cpu_s, peak_gb = command_figures([command, str(root / "dataset"), *arguments])
        limit_s, limit_gb = COMMAND_LIMITS[command]
        times = f"{took_s:8.2f} s   limit {limit_s:4g}   cores {cpu_s:6.2f} s"
        print(f"{name:20s} {times}   peak {peak_gb:5.2f} GB   limit {limit_gb:g}", flush=True)


def command_figures(arguments: list[str]) -> tuple[float, float, float]:
    """Give (seconds, seconds of the cores, peak GB) of `aria-data` with these arguments, in a process of its own."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "flows.cli", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)}: ended with status {status}")
    process.returncode = 0
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6


def measured(step: Callable[[Path, int], int], root: Path, count: int, pipe: Any) -> None:
    import deltalake  # noqa: F401  what a long-running program has loaded already
    import duckdb  # noqa: F401
    import pyarrow.dataset  # noqa: F401

    began = time.perf_counter()
    found = step(root, count)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    pipe.send((found, time.perf_counter() - began, peak_gb))


def run(step: Callable[[Path, int], int], root: Path, count: int) -> tuple[int, float, float]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=measured, args=(step, root, count, theirs))
    process.start()
    theirs.close()  # a step that fails ends this, too
    found = ours.recv()
    process.join()
    return found


STEPS = (  # name, what, how often; the peer is read right beside our query
    ("write", write, 1),
    ("append 1,000", append, 1),
    ("write JSON", write_json, 1),
    ("query", query, 5),
    ("json.load", query_json, 1),
    ("stats", stats, 1),
    ("stats where", stats_where, 1),
    ("diff", diff, 1),
    ("add a subset", add_subset, 1),
    ("query subset", query_subset, 3),
    ("diff all rows", diff_all, 1),
)
PEERS = ("write JSON", "json.load")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--without-json", action="store_true", help="leave the peer out; it needs some 8 GB")
    parser.add_argument("--only-changes", action="store_true", help="only remove, subset and export")
    parser.add_argument("--change-rows", type=int, default=200_000, help="rows of the dataset that these change")
    options = parser.parse_args()
    if not options.only_changes:
        measure_manifest(options.rows, options.without_json)
    with tempfile.TemporaryDirectory() as folder:
        measure_commands(Path(folder), options.change_rows)


def measure_manifest(count: int, is_without_json: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        run(make, root, count)
        figures: dict[str, float] = {"peak GB": 0.0}
        for name, step, times in STEPS:
            if is_without_json and name in PEERS:
                continue
            done = [run(step, root, count) for _ in range(times)]
            took_s, peak_gb = statistics.median(one[1] for one in done), max(one[2] for one in done)
            figures[f"{name} s"] = took_s
            if name not in PEERS:
                figures["peak GB"] = max(figures["peak GB"], peak_gb)
            print(f"{name:14s} {took_s:8.2f} s   peak {peak_gb:5.2f} GB   ({done[0][0]:,})", flush=True)
            if name == "write":
                size = sum(path.stat().st_size for path in (root / "manifest").rglob("*.parquet"))
                print(f"size           {size / 1e6:8.1f} MB")
    if "json.load s" in figures:
        figures["query times JSON"] = figures["json.load s"] / figures["query s"]
    for name, limit in LIMITS.items():
        if name in figures:
            print(f"{name:18s} {figures[name]:8.2f}   limit {limit:g}   ratio {figures[name] / limit:.2f}")


if __name__ == "__main__":
    main()
