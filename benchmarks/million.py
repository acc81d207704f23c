"""Builds of many recordings with the real tables and engine: what a recording costs besides its work.

    python benchmarks/million.py [--sizes 1000 10000] [--keep FOLDER]

The work of each stage is replaced by its result, without the wait; everything else is a build as a user runs it. For
each size, in a process of its own each time: the first build, a build with nothing new, and a build with 1 % new ones.
Prints seconds of CPU (user and system), peak memory, and the bytes of the tables. All recordings have the same file,
which is not read, and a title of their own. Copies are not looked for (`near_duplicates.py` measures that).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

RECORDING_S = 300.0
SETTINGS = ["deduplicate.by_sound=false", "deduplicate.by_notes=false"]
SHARE_NEW = 0.01
BATCH = 10_000


def digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def add_candidates(root: Path, first: int, number: int) -> None:
    """Put candidates into the table of what was collected, as a crawl would."""
    from aria_data.records import Candidate
    from aria_data.storage.stage_tables import DONE, Outcome, StageTable

    audio = root / "audio" / "one.wav"
    audio.parent.mkdir(parents=True, exist_ok=True)
    audio.touch()
    table = StageTable(root, "collect", Candidate)
    for start in range(first, first + number, BATCH):
        outcomes = []
        for index in range(start, min(start + BATCH, first + number)):
            name = f"Chopin - Nocturne Op. 9 No. {index}"
            candidate = Candidate(
                f"local-{index:016x}", "local", audio.as_uri(), f"{index}.wav", name, num_bytes=index + 1
            )
            outcomes.append(Outcome(candidate.candidate_id, digest("seen", index), DONE, record=candidate))
        table.append(outcomes)


def result_of(name: str, item: Any, root: Path) -> Any:
    """The record that a stage gives for an item, made of nothing but the item's id."""
    from aria_data import records

    if name == "screen":
        return records.Screening(item.item_id, 5, "rules", "title: nocturne")
    if name == "ingest":
        sha256 = digest(item.item_id)
        facts = (item.payload.location, sha256, digest(sha256), RECORDING_S, 44_100, 2, "flac", -20.0, -1.0)
        return records.Recording(f"local-{sha256[:16]}", item.item_id, *facts)
    if name == "classify":
        chance, num_windows = random.Random(item.item_id), math.ceil(RECORDING_S)
        scores = [round(0.5 + chance.random() / 2, 4) for _ in range(num_windows)]
        local_scores = [round(0.5 + chance.random() / 2, 3) for _ in range(2 * num_windows)]
        return records.WindowScores(item.item_id, 1.0, scores, 0.5, local_scores, "c" * 64)
    if name == "segment":
        return records.Segmentation(item.item_id, [records.Segment(item.item_id, 0, 1.0, RECORDING_S - 1, 0.9)])
    if name == "transcribe":
        sha256 = digest("midi", item.item_id)
        path = f"midi/{sha256[:2]}/{item.item_id}.{sha256[:8]}.mid"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
        recording_id = item.item_id.rpartition("_")[0]
        return records.Transcription(item.item_id, recording_id, path, sha256, "none", "f" * 64, 2000, 300, 0.9, 0)
    if name == "measure":
        from aria_data.measure.measures import MEASURES

        return records.Measurement(item.item_id, dict.fromkeys(MEASURES, 1.0) | {"num_notes": 2000.0})
    return records.Annotation(composer="Chopin", composer_id="chopin", title=item.payload.title, form="nocturne")


def replace_work() -> None:
    """Let every stage give its results without doing anything for them."""
    from flows.engine import stages
    from flows.engine.context import BuildContext, Item, Stage

    def work(context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Any]:
        for item in items:
            yield stage.outcome(context, item, result_of(stage.name, item, context.root))

    for name in ("SCREEN", "INGEST", "CLASSIFY", "SEGMENT", "TRANSCRIBE", "MEASURE", "ANNOTATE"):
        object.__setattr__(getattr(stages, name), "work", work)
    BuildContext.classifier_sha256, BuildContext.transcriber_sha256 = "c" * 64, "f" * 64  # type: ignore[assignment]


def one_build(root: Path, profile: str) -> None:
    """Build, and print what it took as JSON. For a process of its own."""
    replace_work()
    from flows.cli.jobs import run_build

    began = time.perf_counter()
    if profile:
        import cProfile

        with cProfile.Profile() as profiler:
            summary = run_build(None, root, settings=SETTINGS, with_prefect=False)
        profiler.dump_stats(profile)
    else:
        summary = run_build(None, root, settings=SETTINGS, with_prefect=False)
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {"wall_s": time.perf_counter() - began, "cpu_s": used.ru_utime + used.ru_stime}
    stages = {name: round(stage.seconds, 2) for name, stage in summary.stages.items()}
    print(json.dumps(figures | {"peak_mb": used.ru_maxrss / 1024, "files": summary.num_files, "stages": stages}))


def measured(root: Path, profile: str = "") -> dict[str, Any]:
    command = [sys.executable, __file__, "--build", str(root), "--profile", profile]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(run.stderr)
    return json.loads(run.stdout.splitlines()[-1])


def show(name: str, number: int, figures: dict[str, Any], is_verbose: bool) -> None:
    each_ms = 1000 * figures["cpu_s"] / number
    print(f"{name:22} {figures['cpu_s']:8.1f} s CPU {each_ms:8.2f} ms each {figures['peak_mb']:8.0f} MB peak", end="")
    print(f"  {figures['wall_s']:8.1f} s wall {figures['files']:8} files", flush=True)
    if is_verbose:
        print(f"{'':22} {figures['stages']}", flush=True)


def table_bytes(root: Path) -> dict[str, int]:
    tables = {path.name: path for path in [*(root / "tables").iterdir(), root / "manifest"]}
    return {
        name: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for name, path in tables.items()
    }


def simulate(root: Path, number: int, arguments: argparse.Namespace) -> None:
    add_candidates(root, 0, number)
    num_new = max(1, round(number * SHARE_NEW))
    print(f"{number} recordings", flush=True)
    profile = f"{arguments.profile}-{number}" if arguments.profile else ""
    show("  first build", number, measured(root, profile and f"{profile}-first"), arguments.verbose)
    show("  nothing new", number, measured(root, profile and f"{profile}-nothing"), arguments.verbose)
    add_candidates(root, number, num_new)
    show(f"  {num_new} new", num_new, measured(root, profile and f"{profile}-new"), arguments.verbose)
    sizes = {name: f"{size / (number + num_new):.0f}" for name, size in sorted(table_bytes(root).items())}
    print(f"  bytes a recording: {', '.join(f'{name} {size}' for name, size in sizes.items())}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--keep", type=Path, help="Where the datasets stay, for a look at them.")
    parser.add_argument("--profile", default="", help="Write profiles of the builds to files that begin so.")
    parser.add_argument("-v", "--verbose", action="store_true", help="Seconds of each stage.")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        one_build(arguments.build, arguments.profile)
        return
    with tempfile.TemporaryDirectory() as folder:
        for number in arguments.sizes:
            simulate((arguments.keep or Path(folder)) / f"of_{number}", number, arguments)


if __name__ == "__main__":
    main()
