"""A build with nothing to do: it is told by what lies on disk, starts nothing, and says what the last build said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import SHORT_SEGMENTS, melody, use_fakes, write_audio

from aria_data.errors import DatasetLocked
from aria_data.records import Measurement
from aria_data.storage import exclusive_lock
from aria_data.storage.stage_tables import StageTable
from flows.build.unchanged import last_summary
from flows.engine import order_build
from flows.remove import remove_items

HEAVY = {"prefect", "torch", "librosa", "av", "duckdb", "transkun", "deltalake"}
CHILD = """
import json, sys
from pathlib import Path
from fakes import use_fakes
class Setter:
    @staticmethod
    def setattr(owner, name, value): setattr(owner, name, value)
use_fakes(Setter)
from flows.cli.jobs import run_build
summary = run_build(Path(sys.argv[1]), Path(sys.argv[2]), settings=[sys.argv[3]])
print(json.dumps([summary.num_files, summary.is_new_version, sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder of three recordings, two with the same bytes, and the dataset that was built from it."""
    root = tmp_path_factory.mktemp("finished")
    write_audio(root / "in" / "Chopin - Nocturne.flac", melody(8, seed=1))
    write_audio(root / "in" / "Satie - Gnossienne.flac", melody(8, seed=2))
    shutil.copy(root / "in" / "Satie - Gnossienne.flac", root / "in" / "a copy.flac")
    (root / "in" / "read me.txt").write_text("nothing")
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        from flows.cli.jobs import run_build

        run_build(root / "in", root / "out", settings=SHORT_SEGMENTS, with_prefect=False)
        run_build(root / "in", root / "out", settings=SHORT_SEGMENTS, with_prefect=False)
    return root


@pytest.fixture
def world(finished, monkeypatch):
    """The same folders, which a test may change: it puts everything back."""
    use_fakes(monkeypatch)
    return finished


def asked(world: Path, source: str | None = "in", settings=SHORT_SEGMENTS, **options):
    return last_summary(order_build(source and world / source, world / "out", None, settings, **options))


def test_a_build_with_nothing_to_do_loads_neither_prefect_nor_torch_and_makes_no_file(world):
    before = times_in(world / "out")
    command = [sys.executable, "-c", CHILD, str(world / "in"), str(world / "out"), SHORT_SEGMENTS[0]]
    support = str(Path(__file__).parents[1] / "support")
    run = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": _paths(support)})
    num_files, is_new, modules = json.loads(run.stdout)
    assert (num_files, is_new) == (2, False)
    assert not HEAVY & set(modules)
    assert times_in(world / "out") == before


def times_in(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"}


def _paths(support: str) -> str:
    return os.pathsep.join([str(Path(__file__).parents[2]), support])


def test_it_says_what_a_build_that_looks_everything_up_says(world, build):
    told = asked(world)
    (world / "out" / "index" / "last_build.json").unlink()
    looked_up = build(world / "in", world / "out")
    assert told is not None
    plain = ("stages", "candidates", "segments")
    for name in told.__dataclass_fields__.keys() - set(plain):
        assert getattr(told, name) == getattr(looked_up, name), name
    assert (told.candidates, told.segments) == (looked_up.candidates, looked_up.segments)
    counted = {name: (one.num_done_before, one.num_worked_on) for name, one in looked_up.stages.items()}
    assert {name: (one.num_done_before, one.num_worked_on) for name, one in told.stages.items()} == counted


def test_whatever_changes_makes_it_look(world, build, tmp_path):
    """One change after the other, each taken back; a build looks at what was put back, and notes how it is now."""
    inside, out = world / "in", world / "out"
    new = write_audio(tmp_path / "new.flac", melody(8, seed=3))
    assert asked(world)
    shutil.copy(new, inside / "new.flac")
    assert asked(world) is None
    (inside / "new.flac").unlink()
    assert asked(world)
    for path in (next((out / "midi").rglob("*.mid")), next((out / "tables" / "measure").glob("*.parquet"))):
        path.rename(tmp_path / "away")
        assert asked(world) is None, path
        (tmp_path / "away").rename(path)
        assert asked(world) is None, path
        assert not build(inside, out).is_new_version
        assert asked(world)
    assert asked(world, settings=("segment.min_segment_s=6",)) is None
    assert asked(world, source=None) is None
    assert asked(world, name="first") is None
    assert asked(world, dry_run=True) is None


def test_without_a_source_it_matters_whether_the_copies_are_where_they_were(world, build, tmp_path):
    original = world / "in" / "Satie - Gnossienne.flac"
    build(None, world / "out")
    assert asked(world, source=None)
    original.rename(tmp_path / "away.flac")
    assert asked(world, source=None) is None
    assert build(None, world / "out").version == 2  # the row shows the other place
    assert asked(world, source=None)
    (tmp_path / "away.flac").rename(original)
    assert build(None, world / "out").version == 3


def test_what_is_not_finished_is_not_noted(tmp_path, build, monkeypatch):
    write_audio(tmp_path / "in" / "a.flac", melody(8))
    from flows.engine import stages

    def fail(*_, **__):
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(stages, "measure_segment", fail)
        assert build(tmp_path / "in", tmp_path / "out").not_done
    assert not (tmp_path / "out" / "index" / "last_build.json").exists()
    assert build(tmp_path / "in", tmp_path / "out").num_files == 1
    assert len(StageTable(tmp_path / "out", "measure", Measurement).all()) == 1


def test_a_removal_and_a_lock_are_respected(tmp_path, build):
    write_audio(tmp_path / "in" / "a.flac", melody(8))
    build(tmp_path / "in", tmp_path / "out")
    assert build(tmp_path / "in", tmp_path / "out").num_files == 1
    with exclusive_lock(tmp_path / "out" / ".lock"), pytest.raises(DatasetLocked):
        build(tmp_path / "in", tmp_path / "out")
    remove_items(tmp_path / "out", ["a.flac"], "asked for")
    assert build(tmp_path / "in", tmp_path / "out").num_files == 0
