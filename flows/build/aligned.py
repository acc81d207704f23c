"""Segments along scores: what was aligned before with the same notes and scores is not aligned again.

In: the notes of segments, an index of scores. Out: records and files in the dataset folder (`release.alignments`).
`flows.align` does this for what is released, a build with `release.scores` for what it is about to release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from aria_data.align import AlignConfig, Alignment, NotAligned, Score, ScoreIndex, check_composition, read_scores
from aria_data.align.alignment_files import read_downbeats, write_alignment
from aria_data.align.many import Item, align_many, candidates_of
from aria_data.align.score_files import find_scores
from aria_data.align.summaries import summary_of
from aria_data.errors import DatasetLocked, MidiUnreadable, UsageError
from aria_data.measure.agreement import agreement_per_bar, as_text
from aria_data.midi import read_midi
from aria_data.records import SegmentAlignment
from aria_data.release.alignments import TABLE, folder_of, hash_of
from aria_data.storage import printable
from aria_data.storage.relations import Relations
from aria_data.storage.stage_tables import DONE, REJECTED, Outcome, RecordTable, StageTable
from aria_data.storage.work_keys import work_key
from flows.show import Progress

VERSION = 1  # raise it when the same notes and scores give another result
WORK_TABLE = "align"
APPEND_EVERY = 100  # segments: a kill costs their minutes
FEW = 4  # segments are aligned in this process: others would load their libraries for longer
MAX_WAITING = 1_000  # aligned segments that wait for the lock of the dataset: some hundred megabytes

Segment = tuple[Mapping[str, Any], list[Any]]  # segment_id, midi_path, midi_sha256, composition_id; its notes
Lock = Callable[[bool], AbstractContextManager[None]]  # held while something is written; raises, or waits if it must


@dataclass(slots=True)
class AlignSummary:
    """What a run did: segments by how they ended, and what is in the table now."""

    num_aligned: int = 0
    num_not_aligned: int = 0
    num_done_before: int = 0
    num_contradicted: int = 0  # tags that the notes contradict
    num_proposed: int = 0  # segments without a tag, for which the notes propose a composition
    reasons: dict[str, int] = field(default_factory=dict)
    version: int = 0  # the newest of the manifest, which has the result

    @property
    def text(self) -> str:
        """The result in one line for people."""
        reasons = ", ".join(f"{reason} {number}" for reason, number in sorted(self.reasons.items()))
        return (
            f"Segments aligned: {self.num_aligned}, not: {self.num_not_aligned}{f' ({reasons})' if reasons else ''}; "
            f"{self.num_done_before} were done before. Tags contradicted: {self.num_contradicted}, "
            f"compositions proposed: {self.num_proposed}. Version {self.version} has them."
        )

    def count(self, record: SegmentAlignment, is_tagged: bool) -> None:
        self.num_aligned += not record.reason
        self.num_not_aligned += bool(record.reason)
        self.num_contradicted += record.composition_agrees is False
        self.num_proposed += bool(record.proposed_composition) and not is_tagged
        if record.reason:
            self.reasons[record.reason] = self.reasons.get(record.reason, 0) + 1


class AlignWork:
    """Aligns what was not aligned before with the same notes, tags, candidates and settings."""

    def __init__(self, root: Path, config: AlignConfig, index: ScoreIndex, lock: Lock):
        self.root, self.config, self.index = root, config, index
        self.num_done_before = 0
        self.trouble: list[str] = []  # a line for each segment that could not be aligned for an error
        self._lock, self._table = lock, StageTable(root, WORK_TABLE, SegmentAlignment)
        self._waiting: list[tuple[Outcome, Item, Any]] = []  # aligned, but not yet written

    def records(self, segments: Iterable[Segment], num_processes: int) -> Iterator[SegmentAlignment]:
        """Yield the record of every segment. What is new is written while this goes on, and at the end of it."""
        known: list[SegmentAlignment] = []
        try:
            for item, found in align_many(self._new(segments, known), self.config, num_processes):
                outcome = self._outcome(item, found)
                if detail := getattr(found, "detail", ""):
                    self.trouble.append(f"{printable(item.tag['segment_id'])}: is not aligned ({detail}).")
                self._waiting.append((outcome, item, found))
                yield _with_agreement(outcome.record, item, partial(_downbeats_of, found))
                while known:
                    yield known.pop()
                if len(self._waiting) % APPEND_EVERY == 0:
                    self._write(must=len(self._waiting) >= MAX_WAITING)
            yield from known
            self._write(must=True)
        finally:
            self._write(must=False)

    def _write(self, must: bool) -> None:
        """Write what waits. Where somebody else works in the dataset, wait for it if it must be; else leave it."""
        if not self._waiting:
            return
        try:
            with self._lock(must):
                for outcome, item, found in self._waiting:
                    self._write_files(outcome.record, item, found)
                self._table.append([outcome for outcome, _, _ in self._waiting])
                self._waiting.clear()
        except DatasetLocked:
            if must:
                raise

    def _write_files(self, record: SegmentAlignment, item: Item, found: Any) -> None:
        if record.beats_path:
            beats = self.root / record.beats_path
            write_alignment(beats.parent, beats.name.removesuffix(".tsv"), item.notes, found)

    def _new(self, segments: Iterable[Segment], known: list[SegmentAlignment]) -> Iterator[Item]:
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
        before = self._table.lookup([key for key, _ in batch])
        for key, item in batch:
            record = before[key].record if key in before else None
            if record is not None and all((self.root / path).is_file() for path in paths_of(record)):
                same = replace(record, judged_composition=item.tag["composition_id"] or "")
                details = self.root / record.details_path
                known.append(_with_agreement(same, item, partial(read_downbeats, details)))
                self.num_done_before += 1
            else:
                yield item

    def _key(self, item: Item) -> str:
        tried = [[each.score.score_id, each.score.sha256, each.score.composition_id] for each in item.candidates]
        values = {"midi": item.tag["midi_sha256"], "composition": item.tag["composition_id"], "scores": tried}
        return work_key(WORK_TABLE, VERSION, asdict(self.config), {"segment": item.tag["segment_id"], **values})

    def _outcome(self, item: Item, found: Any) -> Outcome:
        """The outcome of one segment. It names the files that `_write_files` then writes."""
        row, key = item.tag, self._key(item)
        tagged = row["composition_id"] or ""
        check = check_composition(tagged, found, self.index)
        name = f"{folder_of(row['segment_id'].rpartition('_')[0])}/{row['segment_id']}.{key[:8]}"
        paths = ("", "") if hasattr(found, "reason") else (f"{name}.tsv", f"{name}.parquet")
        record = summary_of(row["segment_id"], row["midi_sha256"], found, check, paths, tagged)
        status = REJECTED if record.reason else DONE
        return Outcome(row["segment_id"], key, status, record.reason, record.measured, record.evidence, record)


def _downbeats_of(found: Alignment | NotAligned) -> list[tuple[float, int]]:
    beats = found.beats if isinstance(found, Alignment) else ()
    return [(beat.time_s, beat.bar) for beat in beats if beat.is_downbeat]


def _with_agreement(
    record: SegmentAlignment, item: Item, downbeats: Callable[[], list[tuple[float, int]]]
) -> SegmentAlignment:
    """Add how far two transcribers agree in every bar, where there were two and the segment has bars."""
    disagreements = item.tag.get("disagreements")
    if not disagreements or record.reason:
        return record
    if not (bars := downbeats()):
        return record
    try:
        f1s, lowest = agreement_per_bar([time_s for time_s, _ in bars], [n.onset_s for n in item.notes], disagreements)
    except (ValueError, KeyError, TypeError):  # rows of somebody else's making
        return record
    return replace(
        record,
        agreement_per_bar=as_text(f1s),
        lowest_agreement_bar=None if lowest is None else bars[lowest][1],
        judged_disagreements=hash_of(disagreements),
    )


def read_index(folder: Path, cache: Path | None, progress: Progress, on_error: Callable[[str], None]) -> ScoreIndex:
    """Read and index the scores of a folder; one that cannot be read is told. Raises `UsageError` for none."""
    scores = []
    with progress.stage("scores", len(find_scores(folder)), 0.0, 0):
        for _, found in read_scores(folder, cache):
            progress.advance(0.0)
            if isinstance(found, Score):
                scores.append(found)
            else:
                on_error(str(found))
    if not scores:
        raise UsageError(f"--scores {printable(str(folder))}: none of its scores can be read.")
    return ScoreIndex(scores)


def paths_of(record: SegmentAlignment) -> list[str]:
    """The two files of a record, below the dataset folder; none where the notes were not aligned."""
    return [path for path in (record.beats_path, record.details_path) if path]


def put_records(
    root: Path, done: Mapping[str, SegmentAlignment], present: Mapping[str, str | None] | None = None
) -> None:
    """Put records into `tables/alignments`, beside those that are there, in place of those of the same segments.

    `present` has the `midi_sha256` of every segment that is to be in it; None: all may stay. A new record whose files
    are gone is left out: a removal may have taken them since they were written.
    """
    table = RecordTable(root, TABLE, SegmentAlignment)
    new = (record for record in done.values() if all((root / path).is_file() for path in paths_of(record)))
    kept: dict[str, SegmentAlignment] = {}
    for record in (*table.read(), *new):  # an older result does not displace one of the notes that are there now
        if present is None or present.get(record.segment_id) == record.midi_sha256:
            kept[record.segment_id] = record
    table.replace([kept[name] for name in sorted(kept)])


def align_results(root: Path, relations: Relations, scores: Path, progress: Progress) -> list[str]:
    """Align what a build is about to release (`flows.build.results`) with a folder of scores. Gives a line a trouble.

    Where no score can be read, nothing is aligned, and what was known before stays.
    """
    trouble: list[str] = []
    try:
        index = read_index(scores, root / "index" / "scores", progress, trouble.append)
    except UsageError as error:
        return [*trouble, str(error).replace("--scores", "release.scores", 1)]
    work = AlignWork(root, AlignConfig(), index, lambda must: nullcontext())
    count, done = relations.value(f"SELECT count(*) FROM ({RESULTS})"), {}
    with progress.stage("align", count, 0.0, 0):
        for record in work.records(_segments_of(root, relations, trouble), num_processes=int(count < FEW)):
            done[record.segment_id] = record
            progress.advance(0.0)
    put_records(root, done)
    return trouble + work.trouble


RESULTS = """SELECT segment_id, midi_path, midi_sha256, composition_id, disagreements
    FROM segments JOIN measures USING (segment_id) JOIN transcriptions USING (segment_id)
    JOIN recordings USING (recording_id) JOIN annotations USING (candidate_id)
    WHERE floor < 0 ORDER BY segment_id"""


def _segments_of(root: Path, relations: Relations, trouble: list[str]) -> Iterator[Segment]:
    for batch in relations.batches(RESULTS, APPEND_EVERY):
        for row in batch.to_pylist():
            try:
                yield row, read_midi(root / row["midi_path"]).notes
            except MidiUnreadable as error:
                trouble.append(str(error))
