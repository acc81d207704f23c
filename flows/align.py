"""Align the segments of a dataset with a folder of scores. What was done before with the same scores is not redone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aria_data.align import AlignConfig, ScoreIndex, check_composition
from aria_data.align.alignment_files import write_alignment
from aria_data.align.many import Item, align_many, candidates_of
from aria_data.align.summaries import summary_of
from aria_data.errors import AriaDataError
from aria_data.manifest import Dataset
from aria_data.midi.midi_files import performance_of
from aria_data.records import SegmentAlignment
from aria_data.storage import exclusive_lock, printable
from aria_data.storage.stage_tables import DONE, REJECTED, Outcome, RecordTable, StageTable
from aria_data.storage.work_keys import work_key
from flows.show import Progress

VERSION = 1  # raise it when the same notes and scores give another result
WORK_TABLE, TABLE, FOLDER = "align", "alignments", "alignments"
APPEND_EVERY = 100  # segments: a kill costs their minutes
COLUMNS = ["segment_id", "midi_path", "midi_sha256", "removed_in", "composition_id"]


@dataclass(slots=True)
class AlignSummary:
    """What a run did: segments by how they ended, and what is in the table now."""

    num_aligned: int = 0
    num_not_aligned: int = 0
    num_done_before: int = 0
    num_contradicted: int = 0  # tags that the notes contradict
    num_proposed: int = 0  # segments without a tag, for which the notes propose a composition
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The result in one line for people."""
        reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(self.reasons.items()))
        return (
            f"{self.num_aligned} segments aligned, {self.num_not_aligned} not{f' ({reasons})' if reasons else ''}; "
            f"{self.num_done_before} were done before. Tags contradicted: {self.num_contradicted}, "
            f"compositions proposed: {self.num_proposed}."
        )

    def count(self, record: SegmentAlignment, is_tagged: bool) -> None:
        self.num_aligned += not record.reason
        self.num_not_aligned += bool(record.reason)
        self.num_contradicted += record.composition_agrees is False
        self.num_proposed += bool(record.proposed_composition) and not is_tagged
        if record.reason:
            self.reasons[record.reason] = self.reasons.get(record.reason, 0) + 1


def align_dataset(
    root: Path,
    index: ScoreIndex,
    config: AlignConfig,
    progress: Progress,
    where: str = "",
    num_processes: int = 0,
    on_error: Callable[[str], None] = print,
    on_result: Callable[[SegmentAlignment], None] = lambda record: None,
) -> AlignSummary:
    """Align the present segments that `where` chooses; then `tables/alignments` holds them and those of earlier runs.

    Raises `DatasetNotFound`, `DatasetLocked`, `UsageError` for a condition that cannot be understood.
    """
    selection = Dataset(root).select(where, COLUMNS)
    with exclusive_lock(root / ".lock"):
        rows = {row["segment_id"]: row for row in selection.table.to_pylist()}
        work, done, summary = _Work(root, config, index), {}, AlignSummary()
        with progress.stage("align", len(rows), 0.0, 0):
            for record in work.records(_notes_of(selection, on_error), num_processes):
                done[record.segment_id] = record
                summary.count(record, bool(rows[record.segment_id]["composition_id"]))
                progress.advance(0.0)
                on_result(record)
        summary.num_done_before = work.num_done_before
        _publish(root, done)
    return summary


def _notes_of(selection: Any, on_error: Callable[[str], None]) -> Iterator[tuple[Mapping[str, Any], list[Any]]]:
    for position in range(len(selection)):
        try:
            row, content = selection[position]
            yield row, performance_of(content).notes
        except (AriaDataError, ValueError) as error:
            name = printable(selection.table["segment_id"][position].as_py())
            on_error(f"{name}: {error}" if name not in str(error) else str(error))


class _Work:
    """Aligns what was not aligned before with the same notes, tags, candidates and settings."""

    def __init__(self, root: Path, config: AlignConfig, index: ScoreIndex):
        self.root, self.config, self.index = root, config, index
        self.table = StageTable(root, WORK_TABLE, SegmentAlignment)
        self.num_done_before = 0

    def records(
        self, segments: Iterable[tuple[Mapping[str, Any], list[Any]]], num_processes: int
    ) -> Iterator[SegmentAlignment]:
        """Yield the record of every segment. What is new is appended to the stage table while this goes on."""
        known: list[SegmentAlignment] = []
        waiting: list[Outcome] = []
        try:
            for item, found in align_many(self._new(segments, known), self.config, num_processes):
                waiting.append(self._outcome(item, found))
                yield waiting[-1].record
                while known:
                    yield known.pop()
                if len(waiting) >= APPEND_EVERY:
                    self.table.append(waiting)
                    waiting.clear()
            yield from known
        finally:
            self.table.append(waiting)

    def _new(
        self, segments: Iterable[tuple[Mapping[str, Any], list[Any]]], known: list[SegmentAlignment]
    ) -> Iterator[Item]:
        """Yield what must be aligned; what was is put into `known`. Keys are looked up many at once."""
        batch: list[tuple[str, Item]] = []
        for row, notes in segments:
            candidates = candidates_of(notes, self.index, row["composition_id"] or "", self.config)
            item = Item(row, notes, candidates)
            batch.append((self._key(item), item))
            if len(batch) >= APPEND_EVERY:
                yield from self._unknown(batch, known)
                batch.clear()
        yield from self._unknown(batch, known)

    def _unknown(self, batch: list[tuple[str, Item]], known: list[SegmentAlignment]) -> Iterator[Item]:
        before = self.table.lookup([key for key, _ in batch])
        for key, item in batch:
            record = before[key].record if key in before else None
            if record is not None and all((self.root / path).is_file() for path in _paths(record)):
                known.append(record)
                self.num_done_before += 1
            else:
                yield item

    def _key(self, item: Item) -> str:
        tried = [[each.score.score_id, each.score.sha256, each.score.composition_id] for each in item.candidates]
        values = {"midi": item.tag["midi_sha256"], "composition": item.tag["composition_id"], "scores": tried}
        return work_key(WORK_TABLE, VERSION, asdict(self.config), {"segment": item.tag["segment_id"], **values})

    def _outcome(self, item: Item, found: Any) -> Outcome:
        """Write the files, then give the outcome that names them."""
        row, key = item.tag, self._key(item)
        check = check_composition(row["composition_id"] or "", found, self.index)
        paths = "", ""
        if not hasattr(found, "reason"):
            folder = self.root / FOLDER / Path(row["midi_path"]).parent.name
            written = write_alignment(folder, f"{row['segment_id']}.{key[:8]}", item.notes, found)
            paths = written[0].relative_to(self.root).as_posix(), written[1].relative_to(self.root).as_posix()
        record = summary_of(row["segment_id"], row["midi_sha256"], found, check, paths)
        status = REJECTED if record.reason else DONE
        return Outcome(row["segment_id"], key, status, record.reason, record.measured, record.evidence, record)


def _paths(record: SegmentAlignment) -> list[str]:
    return [path for path in (record.beats_path, record.details_path) if path]


def _publish(root: Path, done: dict[str, SegmentAlignment]) -> None:
    """Put the records into `tables/alignments`, beside those of segments that are present still; clear other files."""
    present = {row["segment_id"]: row["midi_sha256"] for row in Dataset(root).select("", COLUMNS).table.to_pylist()}
    table = RecordTable(root, TABLE, SegmentAlignment)
    kept = {record.segment_id: record for record in table.read()} | done
    records = [kept[name] for name in sorted(kept) if present.get(name) == kept[name].midi_sha256]
    table.replace(records)
    named = {root / path for record in records for path in _paths(record)}
    for path in (root / FOLDER).rglob("*"):
        if path.is_file() and path not in named:
            path.unlink()
