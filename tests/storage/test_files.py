"""Files are written whole or not at all, names survive any trip, and a lock holds."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aria_data.errors import DatasetLocked, DatasetNotWritable
from aria_data.storage import (
    exclusive_lock,
    files,
    not_writable,
    printable,
    require_space,
    sha256_file,
    sha256_of_weights,
    write_whole,
)
from aria_data.storage.files import from_location, to_location


def test_a_file_is_written_whole_with_the_folders_above_it(tmp_path):
    write_whole(tmp_path / "a" / "b" / "c.mid", b"content")
    assert (tmp_path / "a" / "b" / "c.mid").read_bytes() == b"content"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c.mid"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_content_and_no_partial(tmp_path, monkeypatch, step):
    path = tmp_path / "x"
    write_whole(path, b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(DatasetNotWritable, match=r"x: no space left on the device\. Free some"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"all of it")
    assert os.read(reader, 100) == b"all of it"
    os.close(reader)
    assert pipe.is_fifo()


def test_writing_below_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatasetNotWritable, match=r"file/y: cannot be written"):
        write_whole(tmp_path / "file" / "y", b"")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "x"), "no space left"),
        (RuntimeError("Generic LocalFileSystem error: (os error 28)"), "no space left"),
        (PermissionError(errno.EACCES, "x"), "may not be written"),
        (OSError(errno.EROFS, "Read-only file system"), "may not be written"),
        (RuntimeError("Permission denied (os error 13)"), "may not be written"),
        (RuntimeError("two\nlines"), "cannot be written (two lines)"),
    ],
)
def test_each_reason_that_a_write_fails_is_told_apart_in_one_line(error, says):
    message = str(not_writable("out", error))
    assert message.startswith(f"out: {says}")
    assert "\n" not in message


def test_a_disk_without_room_is_seen_before_writing(tmp_path, monkeypatch):
    require_space(tmp_path / "not" / "yet" / "there", 1000)
    monkeypatch.setattr(files, "SPARE_BYTES", 1 << 60)
    with pytest.raises(DatasetNotWritable, match="no space left"):
        require_space(tmp_path / "not" / "yet" / "there", 1000)


@given(st.text(alphabet=st.characters(codec=None, exclude_characters="/\0"), min_size=1, max_size=50))
def test_every_name_survives_the_trip_through_its_location(name):
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # half a surrogate pair is no file name
        return
    location = to_location(f"/base/x{name}")
    assert location.isascii()
    assert location.startswith("file:///base/x")
    assert os.fspath(from_location(location, None)) == f"/base/x{name}"


def test_a_location_without_an_address_is_below_the_dataset(tmp_path):
    assert from_location("audio/ab/x.flac", tmp_path) == tmp_path / "audio" / "ab" / "x.flac"


@given(st.text(alphabet=st.characters(codec=None)) | st.binary())
def test_whatever_is_printed_stays_on_one_line_and_can_be_stored(text):
    shown = printable(text, limit=80)
    shown.encode("utf-8")
    assert shown.isprintable()
    assert len(shown) <= 80


def test_ordinary_text_is_printed_as_it_is_and_bad_characters_are_escaped():
    assert printable("Für Elise 🎹 'x'.mp3") == "Für Elise 🎹 'x'.mp3"
    assert printable("a\nb\x1b\u202e") == r"a\nb\x1b\u202e"
    assert printable(b"\xff") == r"\udcff"
    assert printable("abcdef", 4) == "abc…"


def test_a_file_larger_than_one_block_is_hashed_to_its_end(tmp_path, monkeypatch):
    import hashlib

    content = os.urandom(100_000)
    (tmp_path / "x").write_bytes(content)
    monkeypatch.setattr(files, "HASH_BLOCK_BYTES", 7919)
    assert sha256_file(tmp_path / "x") == hashlib.sha256(content).hexdigest()


def test_a_lock_is_refused_to_a_second_holder_and_free_afterwards(tmp_path):
    path = tmp_path / "d" / ".lock"
    with exclusive_lock(path):
        second = exclusive_lock(path)
        with pytest.raises(DatasetLocked, match="d: another build is working"):
            second.__enter__()
    with exclusive_lock(path):
        pass


def test_a_lock_is_free_when_its_process_was_killed(tmp_path):
    script = (
        "import sys, pathlib\nfrom aria_data.storage.files import exclusive_lock\n"
        "with exclusive_lock(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    path = tmp_path / ".lock"
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(DatasetLocked), exclusive_lock(path):
            pass
        child.kill()
        child.wait()
    with exclusive_lock(path):
        pass


def test_a_long_file_is_written_piece_by_piece_and_is_there_whole_or_not_at_all(tmp_path):
    from aria_data.storage import writing_whole

    path = tmp_path / "new" / "rows.jsonl"

    def half() -> None:
        with writing_whole(path) as file:
            file.write(b"1\n")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert list(path.parent.iterdir()) == []
    with writing_whole(path) as file:
        file.write(b"1\n")
        assert not path.exists()
        file.write(b"2\n")
    assert path.read_bytes() == b"1\n2\n"
    assert [each.name for each in path.parent.iterdir()] == ["rows.jsonl"]


def rewritten(path):
    status = path.stat()
    path.write_bytes(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def replaced(path):
    """By a file of the same size and time."""
    status = path.stat()
    path.with_name("new").write_bytes(b"other")
    os.utime(path.with_name("new"), ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(path.with_name("new"), path)


def replaced_by_a_longer_one(path):
    path.write_bytes(b"longer")


@pytest.mark.parametrize("change", [rewritten, replaced, replaced_by_a_longer_one])
def test_weights_are_hashed_once_until_they_change(tmp_path, monkeypatch, change):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"first")
    hashed = []
    monkeypatch.setattr(files, "sha256_file", lambda path: hashed.append(path) or sha256_file(path))
    assert sha256_of_weights(path) == sha256_of_weights(str(path)) == sha256_file(path)
    assert len(hashed) == 1
    change(path)
    assert sha256_of_weights(path) == sha256_file(path)
    assert len(hashed) == 2
