"""Candidates that passed unchanged are skipped, and that makes no difference. Networks are stand-ins."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import melody, noise, use_fakes, write_audio

from aria_data.errors import DatasetNotReadable
from aria_data.manifest import Manifest
from aria_data.manifest.digests import content_sha256
from aria_data.records import Rejection
from aria_data.storage.relations import Relations
from aria_data.storage.snapshots import Snapshot
from aria_data.storage.stage_tables import RecordTable, StageTable
from flows.candidates.parts import Parts
from flows.cli.jobs import run_build
from flows.remove import remove_items

SETTINGS = ("segment.min_segment_s=4", "ingest.min_duration_s=2", "screen.scorer=rules", "screen.min_relevance_score=3")


def build(source: Path | None, out: Path, *settings: str):
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        return run_build(source, out, None, (*SETTINGS, *settings), with_prefect=False)


def result_of(out: Path) -> tuple[str, list[Rejection]]:
    return content_sha256(list(Manifest(out).rows())), RecordTable(out, "rejections", Rejection).read()


def make_world(root: Path) -> None:
    """A folder of recordings, with a copy and rubbish, and a dataset built from it."""
    for seed, name in enumerate(("b first", "c second", "d third")):
        write_audio(root / "in" / f"{name}.wav", melody(5, seed))
    shutil.copy(root / "in" / "b first.wav", root / "in" / "e copy.wav")
    write_audio(root / "in" / "rain.wav", noise(5))
    (root / "in" / "broken.mp3").write_bytes(b"this is no audio")
    build(root / "in", root / "out")


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """A dataset."""
    root = tmp_path_factory.mktemp("world")
    make_world(root)
    return root / "out"


def a_new_file(root: Path) -> None:
    write_audio(root / "in" / "new.wav", melody(5, 7))


def a_copy_that_comes_first(root: Path) -> None:
    shutil.copy(root / "in" / "b first.wav", root / "in" / "a copy.wav")


def a_copy_of_a_file_without_one(root: Path) -> None:
    shutil.copy(root / "in" / "c second.wav", root / "in" / "a copy.wav")


def the_file_that_is_kept_goes(root: Path) -> None:
    (root / "in" / "b first.wav").unlink()


def other_music_in_a_file(root: Path) -> None:
    write_audio(root / "in" / "b first.wav", melody(5, 8))


def a_title(root: Path) -> None:
    (root / "in" / "c second.info.json").write_text(json.dumps({"title": "Chopin - Nocturne Op. 9 No. 2"}))


def no_midi_file(root: Path) -> None:
    next((root / "out" / "midi").rglob("*.mid")).unlink()


def a_segment_is_removed(root: Path) -> None:
    remove_items(root / "out", [next(iter(Manifest(root / "out").rows()))["segment_id"]], "a test")


def no_table(root: Path) -> None:
    shutil.rmtree(root / "out" / "tables" / "transcribe")


def a_title_after_another_file(root: Path) -> None:
    a_new_file(root)
    build(root / "in", root / "out")
    a_title(root)


CHANGES = [
    a_new_file, a_copy_that_comes_first, a_copy_of_a_file_without_one, the_file_that_is_kept_goes,
    other_music_in_a_file, a_title, no_midi_file, a_segment_is_removed, no_table, a_title_after_another_file,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_whatever_changed_a_build_that_skips_gives_what_one_gives_that_looks_at_all(change, tmp_path, looked_up):
    make_world(tmp_path)
    change(tmp_path)
    found, counts = [], []
    for name in ("skips", "looks"):
        out = shutil.copytree(tmp_path / "out", tmp_path / name)
        (out / "index" / "last_build.json").unlink(missing_ok=True)
        assert (out / "index" / "passed" / "about.json").exists()
        if name == "looks":
            shutil.rmtree(out / "index" / "passed")
        looked_up.clear()
        summary = build(tmp_path / "in", out)
        counts.append(sum(looked_up))
        stages = {stage: one.num_worked_on for stage, one in summary.stages.items()}
        found.append((result_of(out), summary.candidates, summary.segments, stages))
    assert found[0] == found[1]
    assert counts[0] < counts[1] or change is no_table


@pytest.fixture
def looked_up(monkeypatch) -> list[int]:
    """How many keys each look-up asked for."""
    counts: list[int] = []
    lookup: Callable = Snapshot.lookup
    monkeypatch.setattr(Snapshot, "lookup", lambda self, keys, *rest, **named: (
        counts.append(len(keys)), lookup(self, keys, *rest, **named))[1])  # fmt: skip
    return counts


@pytest.mark.parametrize(("settings", "num_looked_at"), [((), 1), (("ingest.min_duration_s=1",), 7)])
def test_one_new_file_is_looked_up_alone_under_the_same_settings(settings, num_looked_at, out, tmp_path, looked_up):
    write_audio(tmp_path / "more" / "new.wav", melody(5, 7))
    shutil.copytree(out, tmp_path / "out")
    build(tmp_path / "more", tmp_path / "out", *settings)
    assert max(looked_up) == num_looked_at


def test_a_build_that_finds_nothing_new_looks_nothing_up_and_writes_no_note(out, tmp_path, looked_up):
    note = shutil.copytree(out, tmp_path / "out") / "index" / "passed" / "about.json"
    before = note.read_bytes()
    (tmp_path / "out" / "index" / "last_build.json").unlink()
    build(None, tmp_path / "out")
    assert not any(looked_up)
    assert note.read_bytes() == before


def test_many_parts_are_written_as_one(out, tmp_path, monkeypatch, looked_up):
    monkeypatch.setattr("flows.candidates.passed.MOST_PARTS", 2)
    shutil.copytree(out, tmp_path / "out")
    for number in range(2):
        write_audio(tmp_path / f"more {number}" / f"new {number}.wav", melody(5, 10 + number))
        build(tmp_path / f"more {number}", tmp_path / "out")
    folder = tmp_path / "out" / "index" / "passed"
    assert sorted(path.name for path in folder.iterdir()) == ["2", "about.json"]
    looked_up.clear()
    (tmp_path / "out" / "index" / "last_build.json").unlink()
    build(None, tmp_path / "out")
    assert not any(looked_up)


def emptied(part: Path) -> None:
    (part / "keys.parquet").write_bytes(b"")


def cut(part: Path) -> None:
    content = (part / "rejections.parquet").read_bytes()
    (part / "rejections.parquet").write_bytes(content[: len(content) // 2])


def changed_inside(part: Path) -> None:
    content = bytearray((part / "candidates.parquet").read_bytes())
    content[len(content) // 3] ^= 255
    (part / "candidates.parquet").write_bytes(content)


def missing(part: Path) -> None:
    (part / "files.parquet").unlink()


def missing_altogether(part: Path) -> None:
    shutil.rmtree(part)


def a_note_that_is_another_thing(part: Path) -> None:
    (part.parent / "about.json").write_text('{"parts": [0]}')


DAMAGES = [emptied, cut, changed_inside, missing, missing_altogether, a_note_that_is_another_thing]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_cache_of_who_passed_is_made_anew_and_all_candidates_are_looked_at(damage, out, tmp_path, looked_up):
    shutil.copytree(out, tmp_path / "out")
    folder = tmp_path / "out" / "index" / "passed"
    damage(folder / "0")
    (tmp_path / "out" / "index" / "last_build.json").unlink()
    build(None, tmp_path / "out")
    assert max(looked_up) > 1
    assert result_of(tmp_path / "out") == result_of(out)
    looked_up.clear()
    (tmp_path / "out" / "index" / "last_build.json").unlink()
    build(None, tmp_path / "out")
    assert not any(looked_up)


def test_a_part_that_a_killed_build_did_not_name_is_in_nobodys_way(out, tmp_path, looked_up):
    shutil.copytree(out, tmp_path / "out")
    folder = tmp_path / "out" / "index" / "passed"
    shutil.copytree(folder / "0", folder / "1")
    (folder / "7.partial").mkdir()
    write_audio(tmp_path / "more" / "new.wav", melody(5, 7))
    build(tmp_path / "more", tmp_path / "out")
    assert max(looked_up) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["0", "1", "about.json"]


def test_a_cache_that_is_damaged_while_a_build_reads_it_is_named_with_what_to_do(out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    parts = Parts(tmp_path / "out" / "index" / "passed")
    assert parts.read() is not None

    def read_what_was_cut() -> None:
        cut(parts.folder / "0")
        with parts.reading(), Relations.open(None) as relations:
            relations.rows(f"SELECT count(*) FROM {relations.read(parts.file(0, 'rejections'))}")

    with pytest.raises(DatasetNotReadable, match="Run the same command again"):
        read_what_was_cut()
    assert not parts.folder.exists()


def test_a_build_of_files_makes_no_objects_of_all_that_was_ever_fetched_or_ingested(out, tmp_path, monkeypatch):
    shutil.copytree(out, tmp_path / "out")
    write_audio(tmp_path / "more" / "new.wav", melody(5, 7))
    read_whole, read = [], StageTable.all
    monkeypatch.setattr(StageTable, "all", lambda self: (read_whole.append(self.name), read(self))[1])
    build(tmp_path / "more", tmp_path / "out")
    assert not {"download", "ingest"} & set(read_whole)
