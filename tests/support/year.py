"""A dataset through a year of changes, and what must hold after each: recordings on two disks, builds, removals, kills.

The networks are the stand-ins of `fakes`; everything that reads, compares and writes is real.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeClassifier, FakeScores, melody, noise, use_fakes, write_audio

from aria_data.exports import export
from aria_data.manifest import Dataset, Manifest, Row
from aria_data.release import Removals
from aria_data.release.splits import STRICTNESS
from aria_data.repertoire import work_labels
from flows.remove import remove_items

DISKS = ("a", "b")
NAMES = ("1", "2", "3")  # of the recordings on a disk
PIECES = (5, 6, 7, 4)  # seconds of each piece that recordings are made of
TITLES = (
    "Beethoven: Sonata Op. 27 No. 2 (complete), piano solo",
    "Beethoven: Moonlight Sonata, 3rd movement, piano solo",
    "Chopin: Nocturne Op. 9 No. 2, piano solo",
    "Chopin: Nocturnes Op. 9 (complete), piano solo",
    "Scriabin: Etude Op. 42 No. 5, piano solo",
    "piano solo",
)
CUTS = {
    "fine": ("segment.max_gap_s=0.5", "segment.switch_cost=0.5", "segment.min_segment_s=2"),
    "late": ("segment.max_gap_s=0.5", "segment.switch_cost=0.5", "segment.min_segment_s=5.5"),
    "coarse": ("segment.max_gap_s=30", "segment.switch_cost=200", "segment.min_segment_s=2"),
}
SHARES = ("release.test_share=0.35", "release.validation_share=0.3", "ingest.min_duration_s=1")
HISTORY = ("first_version",)  # columns in which a dataset built at once may differ
TOLERANCE_S = 0.06


class Killed(BaseException):
    """Stands for the end of the process: nothing after it runs but what lets go of locks."""


class OtherWeights(FakeClassifier):
    """Finds everything a second later, as a classifier with other weights may."""

    def score_blocks(self, blocks: Any) -> FakeScores:
        found = super().score_blocks(blocks)
        moved = np.concatenate([found.scores[:1], found.scores[:-1]])
        return FakeScores(moved, moved, 1.0, 1.0, found.duration_s)


@dataclass(frozen=True, slots=True)
class Taken:
    """Music that was taken down: a span of a recording, and the hash of its MIDI file."""

    segment_id: str
    recording_id: str
    start_s: float
    end_s: float
    midi_sha256: str


class Year:
    """The recordings in `root/in`, the dataset in `root/out`, and what is known of both from what was done."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch):
        self.root, self.patch = root, patch
        self.source, self.out = root / "in", root / "out"
        use_fakes(patch)
        _spare_what_does_not_matter(patch)
        self.cut, self.is_reweighted = "fine", False
        self.taken: list[Taken] = []
        self.gone: set[str] = set()  # recordings and addresses that were removed as a whole
        self.spans: dict[str, tuple[str, float, float]] = {}  # MIDI path -> (recording, start_s, end_s), of any version
        self.given: dict[str, str] = {}  # recording or composition -> its strictest split so far
        self.is_changed = True  # since the last whole build
        self.num_fresh = 0
        for disk in DISKS:
            (self.source / disk).mkdir(parents=True)

    # what happens

    def record(self, disk: str, name: str, pieces: Sequence[int], title: int) -> None:
        parts = [part for one in pieces for part in (melody(PIECES[one], one), noise(2, one))]
        write_audio(self.disk(disk) / f"{name}.wav", np.concatenate(parts))
        self.entitle(disk, name, title)

    def entitle(self, disk: str, name: str, title: int) -> None:
        sidecar = self.disk(disk) / f"{name}.info.json"
        sidecar.write_text(json.dumps({"title": TITLES[title]}))
        self.is_changed = True

    def copy(self, disk: str, name: str, to_disk: str, to_name: str, is_tagged: bool) -> None:
        """Copy a recording; a tagged copy has the same samples and other bytes."""
        old, new = self.disk(disk) / name, self.disk(to_disk) / to_name
        if old == new:
            return
        content = old.with_name(f"{name}.wav").read_bytes()
        new.with_name(f"{to_name}.wav").write_bytes(content + b"note\x04\0\0\0abcd" if is_tagged else content)
        shutil.copy(old.with_name(f"{name}.info.json"), new.with_name(f"{to_name}.info.json"))
        self.is_changed = True

    def delete(self, disk: str, name: str) -> None:
        for ending in (".wav", ".info.json"):
            (self.disk(disk) / f"{name}{ending}").unlink()
        self.is_changed = True

    def rename(self, disk: str, name: str, to_disk: str, to_name: str) -> None:
        for ending in (".wav", ".info.json"):
            (self.disk(disk) / f"{name}{ending}").rename(self.disk(to_disk) / f"{to_name}{ending}")
        self.is_changed = True

    def unmount(self, disk: str) -> None:
        """Take a disk away, or bring it back."""
        there, away = self.source / disk, self.root / f"{disk} away"
        there.rename(away) if there.exists() else away.rename(there)
        self.is_changed = True

    def move_all(self) -> None:
        """The folder with all recordings gets another name."""
        other = self.root / ("in" if self.source.name == "moved" else "moved")
        self.source = self.source.rename(other)

    def remove(self, entries: Sequence[str], die_at: int = 0) -> None:
        """Remove for good, killed at its `die_at`-th write, if there is one."""
        before = self.present()
        named = [row for row in before if {row["segment_id"], row["recording_id"], row["source_url"]} & set(entries)]
        self.gone |= {entry for entry in entries if entry not in {row["segment_id"] for row in before}}
        self.taken += [Taken(*(row[name] for name in Taken.__slots__)) for row in named]
        if self.dying(die_at, lambda: remove_items(self.out, list(entries), "a wish")):
            remove_items(self.out, list(entries), "a wish")  # whoever was told of nothing asks again
        self.is_changed = True
        self.check()

    def build(self, die_at: int = 0) -> None:
        """Build; or begin to, and die at the `die_at`-th write of a build that makes so many."""
        if self.dying(die_at, self._build):
            self.is_changed = True
            return
        self.is_changed = False
        self.check()

    def build_again(self) -> None:
        """Build where nothing changed: only what waits for its audio is tried, and no version made."""
        waits = self._build().not_done
        summary = self._build()
        assert summary.not_done == waits
        assert waits or not any(stage.num_worked_on for stage in summary.stages.values())
        assert not summary.is_new_version
        self.check()

    def _build(self, out: Path | None = None) -> Any:
        from flows.cli.jobs import run_build

        settings = (*SHARES, *CUTS[self.cut])
        summary = run_build(self.source, out or self.out, settings=settings, with_prefect=False)
        candidates, segments = summary.candidates, summary.segments
        for one in (candidates, segments):
            assert one.num_in == one.num_in_manifest + one.num_rejected + one.num_failed + one.num_not_done
        assert not summary.failures
        assert summary.num_files == len(present_in(out or self.out))
        return summary

    def reweight(self) -> None:
        from flows.engine.context import BuildContext

        self.is_reweighted = not self.is_reweighted
        one = OtherWeights() if self.is_reweighted else FakeClassifier()
        sha256 = "d" * 64 if self.is_reweighted else FakeClassifier.sha256
        self.patch.setattr(one, "sha256", sha256, raising=False)
        self.patch.setattr(BuildContext, "classifier", one)
        self.patch.setattr(BuildContext, "classifier_sha256", sha256)
        self.is_changed = True

    def recut(self, cut: str) -> None:
        self.cut, self.is_changed = cut, True

    # what there is

    def disk(self, disk: str) -> Path:
        there = self.source / disk
        return there if there.exists() else self.root / f"{disk} away"

    def recordings(self) -> list[tuple[str, str]]:
        return [(disk, path.stem) for disk in DISKS for path in sorted(self.disk(disk).glob("*.wav"))]

    def is_all_there(self) -> bool:
        return all((self.source / disk).exists() for disk in DISKS)

    def present(self) -> list[Row]:
        return present_in(self.out)

    def dying(self, at: int, function: Callable[[], Any]) -> bool:
        """Call a function that dies at its `at`-th write (0: never). Gives whether it did."""
        if not at:
            function()
            return False
        try:
            with dying_at(at):
                function()
        except Killed:
            return True
        return False

    # what must hold

    def check(self) -> None:
        rows = self.present()
        for row in rows:
            self.spans[row["midi_path"]] = (row["recording_id"], row["start_s"], row["end_s"])
            content = (self.out / row["midi_path"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == row["midi_sha256"]
        assert len({row["segment_id"] for row in rows}) == len(rows)
        self._check_nothing_removed_is_present(rows)
        self._check_splits(rows)

    def _check_nothing_removed_is_present(self, rows: Sequence[Row]) -> None:
        numbers, hashes = {one.segment_id for one in self.taken}, defaultdict(set)
        for one in self.taken:
            hashes[one.recording_id].add(one.midi_sha256)
        for row in rows:
            assert row["segment_id"] not in numbers
            assert not self.gone & {row["recording_id"], row["source_url"]}
            assert row["midi_sha256"] not in hashes[row["recording_id"]]
            assert not self._is_taken(row["recording_id"], row["start_s"], row["end_s"]), row["segment_id"]
        for path in (self.out / "midi").rglob("*.mid"):
            name = path.relative_to(self.out).as_posix()
            segment_id = path.name.rsplit(".", 2)[0]
            assert segment_id not in numbers
            assert segment_id.rpartition("_")[0] not in self.gone
            if name in self.spans:
                assert not self._is_taken(*self.spans[name]), f"{name} holds what was removed"

    def _is_taken(self, recording_id: str, start_s: float, end_s: float) -> bool:
        mine = (one for one in self.taken if one.recording_id == recording_id)
        return any(min(end_s, one.end_s) - max(start_s, one.start_s) > TOLERANCE_S for one in mine)

    def check_exports(self) -> None:
        if not self.present():
            return
        folder = self.root / "export"
        shutil.rmtree(folder, ignore_errors=True)
        export(Dataset(self.out), folder, "folder")
        found = {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.mid")}
        assert found == {row["midi_sha256"] for row in self.present()}

    def _check_splits(self, rows: Sequence[Row]) -> None:
        works = work_labels({row["composition_id"] for row in rows})
        split_of: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            for label in _ties(row, works):
                split_of[label].add(row["split"])
        assert {label: splits for label, splits in split_of.items() if len(splits) > 1} == {}
        moved = {row["recording_id"]: row["split"] for row in rows if self._has_moved(row)}
        for recording_id, split in moved.items():
            assert split in self._earlier_of_group(rows, works, recording_id), f"{recording_id} moved to {split}"
        for row in rows:
            for label in _remembered(row):
                self.given[label] = max(self.given.get(label, "train"), row["split"], key=STRICTNESS.index)

    def _has_moved(self, row: Row) -> bool:
        earlier = [self.given[label] for label in _remembered(row) if label in self.given]
        strictest = max(earlier, key=STRICTNESS.index, default=row["split"])
        assert STRICTNESS.index(row["split"]) >= STRICTNESS.index(strictest), f"{row['segment_id']} left {strictest}"
        return row["split"] != strictest

    def _earlier_of_group(self, rows: Sequence[Row], works: Any, recording_id: str) -> set[str]:
        """The splits that anything tied to a recording was given before, however long the chain, gone works too."""
        ties = {f"recording_id={recording_id}"}
        while True:
            group = [row for row in rows if ties & set(_ties(row, works))]
            more = {label for row in group for label in _ties(row, works)}
            if more <= ties:
                break
            ties |= more
        mine = {row["composition_id"] for row in group} - {""}
        earlier = {label.partition("=")[2] for label in self.given if label.startswith("composition_id=")}
        related = work_labels(mine | earlier)
        near = {one for one in earlier if any(set(related[one]) & set(related[other]) for other in mine)}
        labels = {label for row in group for label in _remembered(row)} | {f"composition_id={one}" for one in near}
        return {self.given[label] for label in labels if label in self.given}

    def check_against_a_fresh_one(self) -> None:
        """What was built over a year is what is built at once from the same recordings, but for history."""
        hashes = {f"local-{_sha256(path)[:16]}" for path in self.source.rglob("*.wav")}
        rows = self.present()
        if not self.is_all_there() or {row["recording_id"] for row in rows} - hashes or self.is_changed:
            return
        fresh = self.root / f"fresh {self.num_fresh}"
        self.num_fresh += 1
        for table in ("removals", "numbers", "splits"):  # the history, which a fresh one has none of
            if (self.out / "tables" / table).is_dir():
                shutil.copytree(self.out / "tables" / table, fresh / "tables" / table)
        gone = [row["segment_id"] for row in rows_in(self.out) if row["removed_in"] is not None]
        Removals(fresh).add(gone, "a wish")  # a recording removed at an address that it has left since
        self._build(fresh)
        found = present_in(fresh)
        shutil.rmtree(fresh)
        assert _but_for_history(rows) == _but_for_history(found)


def present_in(dataset: Path) -> list[Row]:
    return [row for row in rows_in(dataset) if row["removed_in"] is None]


def rows_in(dataset: Path) -> list[Row]:
    return Manifest(dataset).rows() if Manifest(dataset).version() else []


def _ties(row: Row, works: Any) -> Iterator[str]:
    """What a row shares with those that must be in its split."""
    for name in ("recording_id", "audio_cluster", "recording_cluster", "notes_cluster"):
        yield f"{name}={row[name]}"
    yield from (f"work={work}" for work in works.get(row["composition_id"], ()))


def _remembered(row: Row) -> list[str]:
    return [f"{name}={row[name]}" for name in ("recording_id", "audio_cluster", "composition_id") if row[name]]


def _but_for_history(rows: Any) -> dict[str, Row]:
    return {row["segment_id"]: {name: row[name] for name in row if name not in HISTORY} for row in rows}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _spare_what_does_not_matter(patch: pytest.MonkeyPatch) -> None:
    """What costs seconds and has tests of its own: the hash of the weights, and the commit of this code."""
    from aria_data.transcribe.backends import transkun
    from flows.build import provenance

    patch.setattr(transkun, "weights_sha256", lambda config: "f" * 64)
    patch.setattr(provenance, "code", lambda: {"version": "x"})


@contextmanager
def dying_at(number: int) -> Iterator[None]:
    """Die before the write of that number: a commit of a table or of the manifest, or a file that is deleted."""
    from aria_data.manifest.manifest import Manifest
    from aria_data.storage.stage_tables import RecordTable, StageTable

    count = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count >= number:  # what lets go of things may not write either
                raise Killed
            return function(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        writers: Collection[tuple[type, str]] = (
            (StageTable, "append_rows"), (RecordTable, "replace_rows"), (Manifest, "commit"), (Manifest, "revise"),
        )  # fmt: skip
        for owner, name in writers:
            patch.setattr(owner, name, counted(getattr(owner, name)))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
        yield
