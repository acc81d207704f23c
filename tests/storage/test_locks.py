"""Locks: for a whole group, on file systems without locks, and with the name of who holds them."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from places import ROOT

from aria_data.errors import DatasetLocked, DatasetNotWritable, LocksMissing, UsageError
from aria_data.storage import exclusive_lock

HOLD = (
    "import sys, pathlib\nfrom aria_data.storage import exclusive_lock\n"
    "with exclusive_lock(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
)


@contextmanager
def another_process_holds(path: Path):
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout.readline() == "held\n"
        yield child
        child.stdin.close()


@contextmanager
def umask(mask: int):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def without_locks(monkeypatch):
    """A file system without locks: what the system call says there."""

    def give(code: int) -> None:
        def fail(*_):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(fcntl, "flock", fail)

    return give


@pytest.mark.parametrize(("mask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600), (0o000, 0o666)])
@pytest.mark.parametrize("kind", ["system", "file"])
def test_a_lock_belongs_to_whom_the_umask_says(kind, mask, mode, tmp_path, monkeypatch):
    monkeypatch.setenv("ARIA_DATA_LOCK", kind)
    with umask(mask), exclusive_lock(tmp_path / ".lock"):
        found = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert found == {mode}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize("mode", [0o664, 0o644])
def test_a_second_user_of_the_group_can_lock_what_the_first_has_made(mode):
    """The second mode is that of a lock made before the umask was honoured."""
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are for one user
        os.chmod(place, 0o755)
        lock_as_two_users(Path(place) / "shared", mode)


def lock_as_two_users(folder: Path, mode: int) -> None:
    folder.mkdir()
    os.chown(folder, 3001, 3000)
    folder.chmod(0o2775)
    for user in (3001, 3002):
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(3000)
                os.setuid(user)
                os.umask(0o002)
                os.chdir(folder)
                with exclusive_lock(Path(".lock")):
                    if user == 3001:
                        os.chmod(".lock", mode)
                os._exit(0)
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, user


def test_a_lock_that_is_held_says_by_whom(tmp_path):
    with another_process_holds(tmp_path / ".lock") as child, pytest.raises(DatasetLocked) as refused:
        exclusive_lock(tmp_path / ".lock").__enter__()
    said = str(refused.value)
    expected = f"{tmp_path}: another build is working in this folder. Wait for it to end. It is process {child.pid} on "
    assert said.startswith(f"{expected}{socket.gethostname()}, user ")
    assert said.endswith("UTC.")


@pytest.mark.parametrize("written", [b"", b"{", b"[]", b'{"pid": "x"}', b'{"pid": 1}', b"\xff\xfe"])
def test_a_lock_that_does_not_say_by_whom_it_is_held_is_held(written, tmp_path):
    (tmp_path / ".lock").touch()
    with open(tmp_path / ".lock", "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(written)
        file.flush()
        with pytest.raises(DatasetLocked, match=r"in this folder\. Wait for it to end\.$"):
            exclusive_lock(tmp_path / ".lock").__enter__()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_said_and_the_advice_works(code, tmp_path, without_locks, monkeypatch):
    without_locks(code)
    with pytest.raises(LocksMissing, match=r"this file system has no locks .* set ARIA_DATA_LOCK=file") as refused:
        exclusive_lock(tmp_path / ".lock").__enter__()
    assert not isinstance(refused.value, DatasetLocked)
    monkeypatch.setenv("ARIA_DATA_LOCK", "file")
    with exclusive_lock(tmp_path / ".lock"), pytest.raises(DatasetLocked, match=r"another build is working .*process"):
        exclusive_lock(tmp_path / ".lock").__enter__()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with exclusive_lock(tmp_path / ".lock"):
        pass


@pytest.mark.parametrize("code", [errno.EWOULDBLOCK, errno.EACCES])
def test_what_says_that_a_lock_is_held_is_not_taken_for_a_missing_one(code, tmp_path, without_locks):
    without_locks(code)
    with pytest.raises(DatasetLocked, match="another build"):
        exclusive_lock(tmp_path / ".lock").__enter__()


def test_another_fault_of_a_lock_is_said_as_what_it_is(tmp_path, without_locks):
    without_locks(errno.EIO)
    with pytest.raises(DatasetNotWritable, match=r"\.lock: cannot be written"):
        exclusive_lock(tmp_path / ".lock").__enter__()


@pytest.mark.parametrize("kind", ["system", "file"])
def test_a_lock_by_a_file_keeps_out_who_locks_by_the_system(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("ARIA_DATA_LOCK", "file")
    with another_process_holds(tmp_path / ".lock"):
        monkeypatch.setenv("ARIA_DATA_LOCK", kind)
        with pytest.raises(DatasetLocked, match="another build is working"):
            exclusive_lock(tmp_path / ".lock").__enter__()
    with exclusive_lock(tmp_path / ".lock"):
        pass


def test_a_lock_by_a_file_that_a_killed_process_left_says_what_to_delete(tmp_path, monkeypatch):
    monkeypatch.setenv("ARIA_DATA_LOCK", "file")
    with another_process_holds(tmp_path / ".lock") as child:
        child.kill()
        child.wait()
    held = tmp_path / ".lock.held"
    with pytest.raises(DatasetLocked, match="it has ended") as refused:
        exclusive_lock(tmp_path / ".lock").__enter__()
    assert str(refused.value).startswith(f"{held}: was left behind (process {child.pid} on ")
    held.unlink()
    with exclusive_lock(tmp_path / ".lock"):
        pass


def test_a_lock_by_a_file_of_another_machine_is_not_taken_over(tmp_path, monkeypatch):
    monkeypatch.setenv("ARIA_DATA_LOCK", "file")
    holder = {"pid": 2**22 + 1, "host": "another-host", "user": "u", "since": "2026-01-01 00:00:00 UTC"}
    (tmp_path / ".lock.held").write_text(json.dumps(holder))
    with pytest.raises(DatasetLocked, match=r"on another-host.* If it was killed, delete .*\.lock\.held\.$"):
        exclusive_lock(tmp_path / ".lock").__enter__()
    assert (tmp_path / ".lock.held").exists()


def test_an_unknown_way_to_lock_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ARIA_DATA_LOCK", "none")
    with pytest.raises(UsageError, match="ARIA_DATA_LOCK=none: is `system`"):
        exclusive_lock(tmp_path / ".lock").__enter__()


@pytest.mark.parametrize("kind", ["", "file"])
def test_a_folder_on_a_disk_without_locks_can_be_built_and_exported(kind, build, tmp_path, without_locks, monkeypatch):
    from fakes import melody, write_audio

    from aria_data import Dataset
    from aria_data.exports import export

    write_audio(tmp_path / "in" / "a.wav", melody(8))
    without_locks(errno.ENOLCK)
    if not kind:
        with pytest.raises(LocksMissing):
            build(tmp_path / "in", tmp_path / "out")
        return
    monkeypatch.setenv("ARIA_DATA_LOCK", kind)
    assert build(tmp_path / "in", tmp_path / "out").num_files == 1
    export(Dataset(tmp_path / "out"), tmp_path / "exported", "folder")
    names = {path.name for path in (*(tmp_path / "exported").iterdir(), *(tmp_path / "out").iterdir())}
    assert not names & {".lock.held"}
