"""The end of a build at any size, in a stated memory: copies, splits, rows, release, without the stages before it.

    python benchmarks/ending.py [--sizes 10000 100000] [--new 1000] [--keep FOLDER]

The tables of the stages are written by columns, as finished builds would leave them. Then, in a process of its own each
time: the end of the first build, that of a build with some new recordings, and the listing of a build with nothing to
do; then `remove` and `subset` as commands. Prints seconds of CPU and of the wall, and peak memory. Copies by sound and
by notes are not looked for (`near_duplicates.py` measures that).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

BATCH = 50_000
ENDINGS = {"screen": "", "ingest": "", "segment": "", "transcribe": "_0", "measure": "_0", "annotate": ""}  # of ids


def texts(form: str, numbers: np.ndarray) -> pa.Array:
    """A text a number."""
    return pa.array([form.format(number) for number in numbers.tolist()])


def tables_of(first: int, last: int) -> dict[str, tuple[type, pa.Array, dict[str, pa.Array]]]:
    """The outcomes of some recordings by stage: the record's type, item ids, and fields that are not plain."""
    from aria_data import records
    from aria_data.measure import MEASURES

    numbers = np.arange(first, last)
    ids, hashes = texts("local-{:016x}", numbers), texts("{:064x}", numbers * 2654435761 % 2**61)
    segments = texts("local-{:016x}_0", numbers)
    spans = pa.StructArray.from_arrays(
        [ids, *(pa.repeat(pa.scalar(each), len(numbers)) for each in (0, 1.0, 299.0, 0.9))],
        names=["recording_id", "number", "start_s", "end_s", "audio_score"],
    )
    each = np.arange(len(numbers) + 1, dtype=np.int32)
    pieces = pa.ListArray.from_arrays(each, spans)
    measured = np.round(np.random.default_rng(first).random(len(numbers) * len(MEASURES)) * 50 + 20, 5)
    measures = pa.MapArray.from_arrays(
        each * len(MEASURES), pa.array(list(MEASURES) * len(numbers)), pa.array(measured)
    )
    works = texts("chopin:op{}", numbers % 20_000)
    urls = texts("{}.wav", numbers)
    sounds = {"recording_id": ids, "candidate_id": ids, "audio_sha256": hashes, "samples_sha256": hashes}
    notes = {
        "segment_id": segments,
        "recording_id": ids,
        "midi_sha256": hashes,
        "midi_path": texts("midi/{}.mid", numbers),
    }
    return {
        "collect": (records.Candidate, ids, {"candidate_id": ids, "source_url": urls, "title": urls}),
        "screen": (records.Screening, ids, {"candidate_id": ids}),
        "ingest": (records.Recording, ids, sounds),
        "segment": (records.Segmentation, ids, {"recording_id": ids, "segments": pieces}),
        "transcribe": (records.Transcription, segments, notes),
        "measure": (records.Measurement, segments, {"segment_id": segments, "measures": measures}),
        "annotate": (records.Annotation, ids, {"title": urls, "composition_id": works}),
    }


def write_tables(root: Path, first: int, last: int) -> None:
    """Append the outcomes of some recordings to the stage tables."""
    from aria_data.storage.rows_of_records import arrow_type
    from aria_data.storage.stage_tables import StageTable

    plain = {pa.string(): "x", pa.int64(): 1, pa.float64(): 300.0, pa.bool_(): True}
    for start in range(first, last, BATCH):
        for name, (record_type, ids, special) in tables_of(start, min(last, start + BATCH)).items():
            fields = list(arrow_type(record_type))
            columns = [
                special[one.name].cast(one.type)
                if one.name in special
                else pa.repeat(pa.scalar(plain[one.type]), len(ids))
                for one in fields
            ]
            table = StageTable(root, name, record_type)
            values = {"item_id": ids, "key": pa.array([f"{name}-{one}" for one in ids.to_pylist()]), "status": "done"}
            values |= {"reason": "", "measured": 1.0, "detail": "", "reader": pa.scalar(0, pa.int32())}
            outcome = [values[one.name] for one in list(table.schema)[:-1]]
            outcome = [one if isinstance(one, pa.Array) else pa.repeat(pa.scalar(one), len(ids)) for one in outcome]
            table.append_rows(
                pa.Table.from_arrays(
                    [*outcome, pa.StructArray.from_arrays(columns, fields=fields)], schema=table.schema
                )
            )


def end(root: Path, count: int) -> dict[str, float]:
    """The end of a build of `count` recordings. Gives the seconds of each step."""
    from aria_data.measure import load_limits
    from aria_data.records import Candidate, Rejection
    from aria_data.storage.relations import Relations
    from aria_data.storage.rows_of_records import arrow_type
    from aria_data.storage.stage_tables import StageTable
    from aria_data.transcribe import Compute
    from flows import show
    from flows.build.ending import Ending
    from flows.build.numbering import put_settled
    from flows.build.results import put_measures, put_results
    from flows.candidates.latest import Observations
    from flows.candidates.passed import Passed
    from flows.engine.context import BuildContext
    from flows.engine.orders import settings_of
    from flows.untouched.groups import put_nothing_kept

    settings = {"deduplicate": {"by_sound": False, "by_notes": False}}
    BuildContext.classifier_sha256, BuildContext.transcriber_sha256 = "c" * 64, "f" * 64  # type: ignore[assignment]
    context = BuildContext(root, settings_of(root, None, (), settings), Compute())
    ids = [f"local-{number:016x}" for number in range(count)]
    keys = {
        name: pa.table({"item_id": ids, "key": [f"{name}-{one}{ending}" for one in ids]})
        for name, ending in ENDINGS.items()
    }
    limits = {"in_pruned": load_limits("light"), "in_deduplicated": load_limits("heavy")}
    numbered = lambda found: [segment for one in found for segment in one.segments]  # noqa: E731
    took: dict[str, float] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        began = time.process_time()
        result = step()
        took[name] = round(time.process_time() - began, 2)
        return result

    with Relations.open(root) as relations, show.progress() as progress:
        ending = Ending(context, relations, progress)
        observed = Observations(relations)
        timed("observations", lambda: observed.read(StageTable(root, "collect", Candidate)))
        candidates = timed("candidates", observed.write).path
        relations.put("rejections", pa.schema(list(arrow_type(Rejection))).empty_table())
        relations.put("left_out", pa.table({"candidate_id": pa.array([], pa.string())}))
        for name, table in keys.items():
            relations.put(f"keys_of_{name}", table)
        passed = Passed(relations, context, (), "")  # nobody is skipped
        put_nothing_kept(relations)
        put_settled(relations, root, ())
        timed("results", lambda: put_results(relations, context, candidates, numbered))
        timed("measures", lambda: put_measures(relations, context, limits))
        passed.put_skipped_keys("skipped_files", "")
        ending.put_rejections([], {})
        ending.put_outside()
        timed("copies", lambda: ending.deduplicate(set(), {}))
        timed("release", lambda: ending.release(""))
        timed(
            "summary",
            lambda: (ending.counts("reason"), ending.outside_subsets(), ending.remarks(), ending.same_files()),
        )
    return took


def measured(arguments: list[str]) -> dict[str, Any]:
    """Run this file, or a command, in a process of its own: seconds of CPU and wall, and peak memory."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(run.stderr)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": time.perf_counter() - began, "cpu_s": cpu_s, "said": run.stdout.strip().splitlines()[-1:]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--new", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="where the datasets stay")
    parser.add_argument("--end", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.end:
        took = end(arguments.end, arguments.sizes[0])
        peak_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(json.dumps({"peak_mb": peak_mb, "cpu_s": took}))
        return
    with tempfile.TemporaryDirectory() as folder:
        for count in arguments.sizes:
            root = (arguments.keep or Path(folder)) / f"of_{count}"
            write_tables(root, 0, count)
            report(f"{count:,}: first end", measured([__file__, "--end", str(root), "--sizes", str(count)]))
            write_tables(root, count, count + arguments.new)
            more = str(count + arguments.new)
            report(f"{count:,}: {arguments.new:,} new", measured([__file__, "--end", str(root), "--sizes", more]))
            report(f"{count:,}: nothing new", measured([__file__, "--end", str(root), "--sizes", more]))


def report(name: str, figures: dict[str, Any]) -> None:
    print(
        f"{name:24} {figures['cpu_s']:7.1f} s CPU {figures['wall_s']:7.1f} s wall  {' '.join(figures['said'])}",
        flush=True,
    )


if __name__ == "__main__":
    main()
