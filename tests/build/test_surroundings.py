"""A fault of the surroundings is not a fault of the file: disks away, permissions, I/O errors, moved folders."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest
from fakes import FakeClassifier, melody, write_audio
from places import ROOT

from aria_data.audio import reachable
from aria_data.errors import AudioUnreachable
from aria_data.manifest import Manifest
from aria_data.records import Recording
from aria_data.storage.stage_tables import FAILED, Outcome, StageTable
from flows.engine.context import BuildContext
from flows.remove import remove_items

OTHER = ("segment.min_segment_s=4", "ingest.min_duration_s=1", "transcribe.correct_tuning=false")


@pytest.fixture
def source(tmp_path):
    for number in range(2):
        write_audio(tmp_path / "disk" / f"{number}.wav", melody(8, number))
    return tmp_path / "disk"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def rows_of(out) -> list[dict]:
    return [row for row in Manifest(out).rows() if row["removed_in"] is None]


def without(row: dict, *names: str) -> dict:
    return {name: value for name, value in row.items() if name not in names}


def test_with_the_disk_away_and_other_settings_rows_stay_under_their_old_results_and_are_marked(build, source, out):
    build(source, out)
    before = rows_of(out)
    source.rename(source.with_name("elsewhere"))
    away = build(None, out, settings=OTHER)
    assert (away.num_files, away.candidates.num_in_manifest, away.failures) == (2, 2, [])
    assert len(away.not_done) == 2
    assert all(" (" in line and "cannot be found" in line and "Bring it back" in line for line in away.not_done)
    after = rows_of(out)
    assert [row["audio_reachable"] for row in before] == [True, True]
    assert [row["audio_reachable"] for row in after] == [False, False]
    assert [without(row, "audio_reachable") for row in after] == [without(row, "audio_reachable") for row in before]


def test_when_the_disk_is_back_the_work_is_done_as_if_it_had_never_been_away(build, source, out, tmp_path):
    build(source, out)
    source.rename(source.with_name("elsewhere"))
    build(None, out, settings=OTHER)
    source.with_name("elsewhere").rename(source)
    back = build(None, out, settings=OTHER)
    assert (back.num_files, back.not_done, back.stages["transcribe"].num_worked_on) == (2, [], 2)
    build(source, tmp_path / "fresh", settings=OTHER)
    assert rows_of(out) == rows_of(tmp_path / "fresh")


def test_a_disk_that_is_away_makes_no_version_by_itself(build, source, out):
    build(source, out)
    source.rename(source.with_name("elsewhere"))
    summary = build(None, out)
    assert (summary.is_new_version, summary.not_done, summary.num_files) == (False, [], 2)


@pytest.mark.parametrize("stage", ["ingest", "classify", "transcribe", "measure"])
def test_every_stage_that_reads_audio_waits_for_it_and_keeps_the_rows(build, source, out, monkeypatch, stage):
    build(source, out)
    before = rows_of(out)
    (source / "1.wav").rename(source / "1.away")
    settings = ["segment.min_segment_s=5"]
    if stage == "ingest":
        settings.append("ingest.min_duration_s=2")
    elif stage == "classify":
        monkeypatch.setattr(FakeClassifier, "sha256", "d" * 64)
        monkeypatch.setattr(BuildContext, "classifier_sha256", "d" * 64)
    elif stage == "transcribe":
        settings.append("transcribe.correct_tuning=false")
    else:
        shutil.rmtree(out / "tables" / "measure")
    summary = build(None, out, settings=settings)
    assert (summary.num_files, len(summary.not_done), summary.failures) == (2, 1, [])
    assert summary.not_done[0].startswith("1.wav: file_missing (")
    by_url = {row["source_url"]: row for row in rows_of(out)}
    assert {url: row["audio_reachable"] for url, row in by_url.items()} == {"0.wav": True, "1.wav": False}
    old = next(row for row in before if row["source_url"] == "1.wav")
    assert without(by_url["1.wav"], "audio_reachable") == without(old, "audio_reachable")


def test_a_failure_that_earlier_code_recorded_for_ever_is_tried_again(build, source, out):
    (source / "1.wav").rename(source / "1.away")
    write_audio(source / "1.wav", melody(8, 7))
    build(source, out)
    table = StageTable(out, "ingest", Recording)
    kept = table.all()
    shutil.rmtree(out / "tables" / "ingest")
    blamed = [Outcome(one.item_id, one.key, FAILED, "unreadable", None, "1.wav: may not be read.") for one in kept]
    table.append(blamed)
    summary = build(source, out)
    assert (summary.num_files, summary.failures) == (2, [])
    assert summary.stages["ingest"].num_worked_on == 2


def test_a_disk_that_fails_while_it_is_read_is_no_damaged_file(tmp_path, monkeypatch):
    """No disk that fails can be had here: the operating system's error is raised in its place."""
    path = write_audio(tmp_path / "a.flac", melody(8, 1))
    path.write_bytes(path.read_bytes()[:30_000])  # what FFmpeg sees of a disk that stops

    def failing(*_: object) -> object:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(reachable, "open", failing, raising=False)
    from aria_data.audio import inspect

    with pytest.raises(AudioUnreachable, match=r"a\.flac: cannot be read \(Input/output error\)") as found:
        inspect(path)
    assert found.value.reason == "io_error"


def test_a_file_replaced_by_another_of_the_same_size_and_time_is_noticed(build, source, out):
    build(source, out)
    old = rows_of(out)
    path = source / "1.wav"
    status = path.stat()
    write_audio(source / "new.wav", melody(8, 55))
    os.utime(source / "new.wav", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(source / "new.wav", path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    build(source, out)
    assert {row["source_url"] for row in rows_of(out)} == {"0.wav", "1.wav"}
    assert len({row["audio_sha256"] for row in (*old, *rows_of(out))}) == 3
    again = build(source, out)
    assert {name for name, stage in again.stages.items() if stage.num_worked_on} == set()


def test_a_file_whose_permissions_changed_is_the_same_file(build, source, out):
    build(source, out)
    os.chmod(source / "1.wav", 0o600)
    again = build(source, out)
    assert {name for name, stage in again.stages.items() if stage.num_worked_on} == set()
    assert not again.is_new_version


@pytest.mark.parametrize("how", ["moved", "copied", "linked"])
def test_a_folder_in_another_place_holds_the_same_recordings_and_no_copies_of_them(build, source, out, tmp_path, how):
    (source / "sub").mkdir()
    (source / "1.wav").rename(source / "sub" / "1.wav")
    build(source, out)
    before = rows_of(out)
    place = tmp_path / "place"
    if how == "moved":
        source.rename(place)
    elif how == "copied":
        shutil.copytree(source, place)
    else:
        place.symlink_to(source, target_is_directory=True)
    summary = build(place, out)
    assert (summary.candidates.num_in, summary.rejections, summary.not_done) == (2, {}, [])
    assert rows_of(out) == before
    assert summary.stages["transcribe"].num_worked_on == 0


def test_a_copy_beside_its_original_is_still_a_copy(build, source, out):
    shutil.copy(source / "1.wav", source / "again.wav")
    (source / "b").mkdir()
    shutil.copy(source / "1.wav", source / "b" / "1.wav")
    summary = build(source, out)
    assert summary.rejections == {"deduplicate: same_bytes": 2}
    assert build(source, out).rejections == {"deduplicate: same_bytes": 2}


def test_what_was_removed_does_not_come_back_with_its_disk(build, source, out):
    build(source, out)
    gone = next(row["segment_id"] for row in rows_of(out) if row["source_url"] == "1.wav")
    source.rename(source.with_name("elsewhere"))
    remove_items(out, [gone], "a wish")
    assert [row["source_url"] for row in rows_of(out)] == ["0.wav"]
    build(None, out, settings=OTHER)
    assert [row["source_url"] for row in rows_of(out)] == ["0.wav"]
    source.with_name("elsewhere").rename(source)
    build(None, out, settings=OTHER)
    assert [row["source_url"] for row in rows_of(out)] == ["0.wav"]


def test_a_language_model_that_is_away_takes_no_row_out(build, source, out, monkeypatch):
    build(source, out)
    before = rows_of(out)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    settings = [
        "segment.min_segment_s=5", "screen.scorer=llm", "llm.model=x", "llm.base_url=http://127.0.0.1:9/v1",
        "llm.first_wait_s=0.01", "llm.deadline_s=1", "llm.input_price=0", "llm.output_price=0",
    ]  # fmt: skip
    summary = build(source, out, settings=settings)
    assert (summary.num_files, summary.candidates.num_in_manifest, summary.is_new_version) == (2, 2, False)
    assert rows_of(out) == before


@pytest.mark.parametrize("mode", [0o000, 0o444], ids=["closed", "listed but not entered"])
def test_a_folder_without_permission_keeps_its_rows_until_it_has_it_again(tmp_path, mode):
    source, out = tmp_path / "in", tmp_path / "out"
    for name in ("a/x/1.wav", "b/2.wav"):
        write_audio(source / name, melody(8, len(name)))
    assert build_apart(source, out)["num_files"] == 2
    (source / "a").chmod(mode)
    away = build_apart(source, out)
    (source / "a").chmod(0o755)
    assert (away["num_files"], away["failures"], away["is_new_version"]) == (2, [], False)
    assert any("may not be read" in line and "Check its permissions" in line for line in away["not_done"])
    back = build_apart(source, out)
    assert (back["num_files"], back["not_done"], back["is_new_version"]) == (2, [], False)


def test_a_table_without_permission_is_said_and_nothing_is_called_damaged(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    write_audio(source / "1.wav", melody(8))
    build_apart(source, out)
    (out / "tables" / "segment").chmod(0o000)
    with pytest.raises(AssertionError, match=r"DatasetNotReadable: .*tables/segment.*Check its permissions"):
        build_apart(source, out)
    (out / "tables" / "segment").chmod(0o755)
    assert build_apart(source, out)["num_files"] == 1


def build_apart(source, out) -> dict:
    """Build in a process to which permissions apply, also where the tests run as root. Gives the summary's values."""
    plain = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"] if not os.getuid() else []
    ran = subprocess.run(
        [*plain, sys.executable, ROOT / "tests" / "support" / "build_child.py", source, out],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])
