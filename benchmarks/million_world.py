"""The made-up recordings of `million.py`: candidates as a crawl leaves them, each stage's result without its work."""

from __future__ import annotations

import hashlib
import math
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

RECORDING_S = 300.0
SETTINGS = ["deduplicate.by_sound=false", "deduplicate.by_notes=false"]
BATCH = 50_000


def digest(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def add_candidates(root: Path, first: int, number: int, audio: Path | None = None) -> None:
    """Put candidates into the table of what was collected, by columns. All have one file, which nobody reads.

    Their addresses begin with four hex digits of a hash, so that new ones lie between old ones everywhere.
    """
    from aria_data.records import Candidate
    from aria_data.storage.rows_of_records import to_column
    from aria_data.storage.stage_tables import StageTable

    audio = audio or root / "audio" / "one.wav"
    audio.parent.mkdir(parents=True, exist_ok=True)
    audio.touch()
    table = StageTable(root, "collect", Candidate)
    pattern = Candidate(
        "",
        "local",
        audio.as_uri(),
        "",
        "",
        announced_duration_s=RECORDING_S,
        collected_at="2026-11-30T12:00:00.000000+00:00",
    )
    for start in range(first, first + number, BATCH):
        numbers = range(start, min(start + BATCH, first + number))
        hashes = [digest("candidate", index) for index in numbers]
        own = {
            "candidate_id": pa.array([f"local-{one[:16]}" for one in hashes]),
            "source_url": pa.array([f"{one[:4]}/{index}.wav" for one, index in zip(hashes, numbers, strict=True)]),
            "title": pa.array([f"Chopin - Nocturne Op. 9 No. {index}" for index in numbers]),
            "num_bytes": pa.array([index + 1 for index in numbers]),
        }
        like = to_column(Candidate, [pattern])
        plain = zip(like.type, like.flatten(), strict=True)
        columns = [own.get(field.name, pa.repeat(value[0], len(numbers))) for field, value in plain]
        values: dict[str, Any] = {"item_id": own["candidate_id"], "key": pa.array(hashes), "status": "done"}
        outcome = [
            values[field.name]
            if isinstance(values.get(field.name), pa.Array)
            else pa.repeat(pa.scalar(values.get(field.name), field.type), len(numbers))
            for field in list(table.schema)[:-1]
        ]
        records = pa.StructArray.from_arrays(columns, fields=list(like.type))
        table.append_rows(pa.Table.from_arrays([*outcome, records], schema=table.schema))


@cache
def some_scores() -> list[tuple[array[float], array[float]]]:
    """The classifier's scores of some recordings, rounded as they are stored: 0.5 to 1."""
    draw, windows = np.random.default_rng(1), math.ceil(RECORDING_S)
    return [
        (
            array("d", (round(0.5 + float(one) / 2, 4) for one in draw.random(windows))),
            array("d", (round(0.5 + float(one) / 2, 3) for one in draw.random(2 * windows))),
        )
        for _ in range(200)
    ]


@cache
def some_measures() -> list[dict[str, float]]:
    """Measures of some segments, within all limits."""
    from aria_data.measure.measures import MEASURES

    draw = np.random.default_rng(2)
    return [
        dict(zip(MEASURES, np.round(1 + draw.random(len(MEASURES)), 5).tolist(), strict=True)) | {"num_notes": 2000.0}
        for _ in range(200)
    ]


@cache
def folder_of(root: Path, shelf: str) -> Path:
    folder = root / "midi" / shelf
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def result_of(name: str, item: Any, root: Path) -> Any:
    """The record that a stage gives for an item, made of nothing but the item's id."""
    from aria_data import records

    if name == "screen":
        return records.Screening(item.item_id, 5, "rules", "title: nocturne")
    if name == "ingest":
        sha256 = digest(item.item_id)
        facts = (item.payload.location, sha256, sha256[::-1], RECORDING_S, 44_100, 2, "flac", -20.0, -1.0)
        return records.Recording(f"local-{sha256[:16]}", item.item_id, *facts)
    if name == "classify":
        scores, local_scores = some_scores()[int(item.item_id[-2:], 16) % 200]
        return records.WindowScores(item.item_id, 1.0, scores, 0.5, local_scores, "c" * 64)
    if name == "segment":
        return records.Segmentation(item.item_id, [records.Segment(item.item_id, 0, 1.0, RECORDING_S - 1, 0.9)])
    if name == "transcribe":
        sha256 = digest("midi", item.item_id)
        path = f"midi/{sha256[:2]}/{item.item_id}.{sha256[:8]}.mid"
        folder_of(root, sha256[:2]).joinpath(Path(path).name).touch()
        recording_id = item.item_id.rpartition("_")[0]
        return records.Transcription(item.item_id, recording_id, path, sha256, "none", "f" * 64, 2000, 300, 0.9, 0)
    if name == "measure":
        return records.Measurement(item.item_id, some_measures()[int(item.item_id[-4:-2], 16) % 200])
    work = f"chopin:op{int(item.item_id[-4:], 16) % 20_000}"
    return records.Annotation(
        composer="Chopin", composer_id="chopin", title=item.payload.title, form="nocturne", composition_id=work
    )


@cache
def replace_work() -> None:
    """Let every stage give its results without doing anything for them, in worker processes as in this one."""
    from flows.engine import stages
    from flows.engine.context import Ahead, BuildContext, Item, Stage
    from flows.executors import local

    def work(context: BuildContext, stage: Stage, items: Sequence[Item]) -> Iterator[Any]:
        for item in items:
            outcome = stage.outcome(context, item, result_of(stage.name, item, context.root))
            if stage.name == "ingest":  # as of a file that is decoded once, for the classifier, too
                sha256 = outcome.record.audio_sha256
                if context.wants_scores(item.payload, sha256):
                    context.ahead[sha256] = Ahead(some_scores()[0])
            yield outcome

    for name in ("SCREEN", "INGEST", "CLASSIFY", "SEGMENT", "TRANSCRIBE", "MEASURE", "ANNOTATE"):
        object.__setattr__(getattr(stages, name), "work", work)
    BuildContext.classifier_sha256, BuildContext.transcriber_sha256 = "c" * 64, "f" * 64  # type: ignore[assignment]
    local.WORK_OFF, local.LOAD = "million_world:work_off", "million_world:load"
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))


def work_off(send: Callable[..., None], assignment: Any) -> Any:
    """What a worker process calls, here or on a cluster: it gives its results without doing anything for them."""
    from flows.executors import assignments

    replace_work()
    return assignments.work_off(send, assignment)


def load(send: Callable[..., None], setup: Any) -> None:
    """There is no model to load."""
