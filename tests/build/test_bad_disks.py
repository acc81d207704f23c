"""A full disk, a disk that may not be written, files that may not be read: one clear line, and nothing half is left.

The classifier and the transcriber are stand-ins (see `fakes`); everything that touches files is real.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import melody, write_audio
from places import SUPPORT

from aria_data.errors import (
    DatasetNotWritable,
)
from aria_data.manifest import Manifest, manifest
from aria_data.storage import files, stage_tables
from flows.remove import remove_items

SETTINGS = ("segment.min_segment_s=5",)
ADVICE = ("Get the", "Check ", "Remove ", "remove ", "Cut it")  # a failure says what to do next


# ---------------------------------------------------------------- a full disk, a disk that may not be written


def _leave_free(disk: Path, num_bytes: int) -> None:
    ballast = disk / "ballast"
    ballast.unlink(missing_ok=True)
    ballast.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - num_bytes)))


@pytest.mark.parametrize(
    "is_seen_before",
    [pytest.param(True, marks=pytest.mark.slow), False],
    ids=["seen before writing", "found out while writing"],
)
def test_a_full_disk_stops_the_build_in_one_line_wherever_it_happens_and_space_mends_it(
    tmp_path, build, small_disk, monkeypatch, is_seen_before
):
    for number in range(4):
        write_audio(tmp_path / "in" / f"{number}.wav", melody(6, number))
    reference = build(tmp_path / "in", tmp_path / "reference")
    spare = files.SPARE_BYTES if is_seen_before else 0
    if not is_seen_before:
        for module in (stage_tables, manifest):
            monkeypatch.setattr(module, "require_space", lambda path, num_bytes: None)
    lines = []
    for free_kib in range(0, 180, 12):
        _leave_free(small_disk, spare + free_kib * 1024)
        try:
            build(tmp_path / "in", small_disk / "out")
        except DatasetNotWritable as error:
            lines.append(str(error))
        assert not list(small_disk.rglob("*.partial"))
    for line in lines:
        assert line.endswith(": no space left on the device. Free some and run the same command again.")
        assert "\n" not in line
    assert len({line.split(":")[0] for line in lines}) >= 3  # it was full at several places
    _leave_free(small_disk, 3 << 20)
    summary = build(tmp_path / "in", small_disk / "out")
    assert summary.num_files == reference.num_files == 4
    released = [Manifest(root).versions() for root in (small_disk / "out", tmp_path / "reference")]
    assert [len(versions) for versions in released] == [1, 1]
    assert released[0][0].content_sha256 == released[1][0].content_sha256


def test_an_out_on_a_read_only_disk_is_one_line_and_reading_it_still_works(tmp_path, build, small_disk):
    write_audio(tmp_path / "in" / "a.wav", melody(6))
    build(tmp_path / "in", small_disk / "out")
    write_audio(tmp_path / "in" / "b.wav", melody(6, 1))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for out in (small_disk / "out", small_disk / "new"):
        with pytest.raises(DatasetNotWritable, match=r"may not be written\. Check its permissions or choose another"):
            build(tmp_path / "in", out)
    with pytest.raises(DatasetNotWritable):
        remove_items(small_disk / "out", [Manifest(small_disk / "out").rows()[0]["segment_id"]], "x")
    assert Manifest(small_disk / "out").query("num_notes = 12").num_rows == 1
    assert build(tmp_path / "in", small_disk / "out", dry_run=True).stages["screen"].num_worked_on == 1


UNPRIVILEGED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from fakes import use_fakes
use_fakes(type("Patch", (), {{"setattr": staticmethod(setattr)}}))
from aria_data.errors import AriaDataError
from flows.cli.jobs import run_build
try:
    summary = run_build(Path({source!r}), Path({out!r}), settings=["segment.min_segment_s=5"], with_prefect=False)
    print(*summary.failures, *summary.not_done, summary.candidates, sep="\\n")
except AriaDataError as error:
    print(type(error).__name__, error)
"""


def _obey_permissions() -> None:
    """Drop root's power to read and write whatever it likes; permissions then count for it as for anybody."""
    import ctypes

    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP, in force from the next exec on


def build_unprivileged(source: Path, out: Path) -> list[str]:
    """Run a build for which permissions count, and give the lines it printed."""
    command = UNPRIVILEGED.format(tests=str(SUPPORT), source=str(source), out=str(out))
    ran = subprocess.run(
        [sys.executable, "-c", command], cwd="/", capture_output=True, text=True, preexec_fn=_obey_permissions
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.fixture
def modes():
    """Change permissions for the length of a test, so that its folder can be cleared away afterwards."""
    changed: list[Path] = []

    def change(path: Path, mode: int) -> None:
        changed.append(path)
        os.chmod(path, mode)

    yield change
    for path in reversed(changed):
        os.chmod(path, 0o755)


@pytest.mark.slow
def test_files_and_folders_that_may_not_be_read_are_reported_and_the_rest_goes_on(tmp_path, modes):
    source = tmp_path / "in"
    for number, name in enumerate(("good.wav", "secret.wav", "closed/a.wav", "listed/b.wav", "odd.mp3/c.wav")):
        write_audio(source / name, melody(6, number))
    for name, mode in (("secret.wav", 0o000), ("closed", 0o000), ("listed", 0o444), ("odd.mp3", 0o000)):
        modes(source / name, mode)
    lines = build_unprivileged(source, tmp_path / "out")
    for name in ("closed", "listed/b.wav", "odd.mp3", "secret.wav"):
        (line,) = [line for line in lines if line.startswith(f"{name}: unreadable (")]
        assert "may not be read. Check its permissions" in line
    assert lines[-1] == "5 in = 1 in the manifest + 0 rejected + 0 failed + 4 not done"


def test_an_out_without_permission_is_one_line(tmp_path, modes):
    write_audio(tmp_path / "in" / "a.wav", melody(6))
    out = tmp_path / "closed" / "out"
    out.parent.mkdir()
    modes(out.parent, 0o555)
    (line,) = build_unprivileged(tmp_path / "in", out)
    assert line == f"DatasetNotWritable {out}: may not be written. Check its permissions or choose another --out."


def test_a_full_disk_stops_a_build_with_prefect_at_once(tmp_path, monkeypatch):
    from flows.engine import prefect_api

    monkeypatch.setattr(prefect_api, "FREE_BYTES", 1 << 60)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    refused = pytest.raises(DatasetNotWritable, match="no space left on the device")
    with refused, prefect_api.temporary_api(tmp_path / ".prefect"):
        pass
