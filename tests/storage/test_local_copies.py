"""What of a dataset in an object store lies on this disk: copies within a limit, and databases of several machines."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import pytest

from aria_data.errors import AudioUnreachable, DatasetCorrupt, DatasetNotWritable, UsageError
from aria_data.records import Screening
from aria_data.storage import local_audio, local_copy, local_folder, open_root, write_whole
from aria_data.storage import local_copies as copies
from aria_data.storage.local_copies import fetch_database, give_back_database, keep_file
from aria_data.storage.snapshots import Snapshot
from aria_data.storage.stage_tables import DONE, Outcome, StageTable


@pytest.fixture
def root(bucket, monkeypatch):
    monkeypatch.setattr(copies, "KEPT_FILES", 1)
    return open_root(bucket)


def num_kept() -> int:
    return len([path for path in (copies.cache_home() / "objects").rglob("*") if path.is_file()])


def test_a_file_of_a_folder_is_its_own_copy(tmp_path):
    assert local_copy(tmp_path / "a.wav") == tmp_path / "a.wav"
    assert local_folder(tmp_path) == tmp_path


def test_a_copy_is_made_once_and_anew_when_the_object_changed(root):
    write_whole(root / "audio" / "a.flac", b"one")
    copy = local_copy(root / "audio" / "a.flac")
    assert (copy.read_bytes(), copy.suffix) == (b"one", ".flac")
    assert local_copy(root / "audio" / "a.flac") == copy
    write_whole(root / "audio" / "a.flac", b"two")
    assert local_copy(root / "audio" / "a.flac").read_bytes() == b"two"


def test_copies_stay_within_the_limit_and_the_least_recently_used_go(root, monkeypatch):
    monkeypatch.setenv("ARIA_DATA_CACHE_GB", str(3_500 / 1e9))
    found = {}
    for number in range(3):
        write_whole(root / f"{number}.wav", bytes([number]) * 1000)
        found[number] = local_copy(root / f"{number}.wav")
        os.utime(found[number], (number, number))
    os.utime(found[0], (10, 10))  # used again
    write_whole(root / "3.wav", b"3" * 1000)
    assert local_copy(root / "3.wav").is_file()
    assert [found[number].is_file() for number in range(3)] == [True, False, True]
    assert local_copy(root / "1.wav").read_bytes() == b"\x01" * 1000  # fetched again


def test_a_file_larger_than_the_limit_is_kept_while_it_is_the_newest(root, monkeypatch):
    monkeypatch.setenv("ARIA_DATA_CACHE_GB", "0")
    for number in range(3):
        write_whole(root / f"{number}.wav", bytes([number]) * 1000)
        assert local_copy(root / f"{number}.wav").is_file()
        assert num_kept() == 1


def test_what_was_fetched_becomes_the_object_and_its_copy(root, tmp_path):
    (tmp_path / "a.flac").write_bytes(b"audio")
    keep_file(tmp_path / "a.flac", root / "audio" / "a.flac")
    assert (root / "audio" / "a.flac").read_bytes() == b"audio"
    assert not (tmp_path / "a.flac").exists()
    assert num_kept() == 1
    assert local_copy(root / "audio" / "a.flac").read_bytes() == b"audio"
    assert num_kept() == 1


def test_audio_that_is_not_in_the_store_is_not_reachable_as_on_a_disk(root):
    with pytest.raises(AudioUnreachable) as raised:
        local_audio(root / "audio" / "none.flac")
    assert raised.value.reason == "file_missing"


def test_a_cache_folder_that_cannot_be_written_is_named_with_what_to_do(root, monkeypatch, tmp_path):
    write_whole(root / "a.wav", b"a")
    (tmp_path / "a file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    with pytest.raises(DatasetNotWritable, match="XDG_CACHE_HOME"):
        local_copy(root / "a.wav")


@pytest.mark.parametrize("name", ["ARIA_DATA_CACHE_GB", "ARIA_DATA_STORE_PATIENCE_S", "ARIA_DATA_LEASE_S"])
def test_a_limit_that_is_no_number_is_refused(name, root, monkeypatch):
    monkeypatch.setenv(name, "many")
    from aria_data.storage import exclusive_lock

    with pytest.raises(UsageError, match=f"{name}='many': is no number"), exclusive_lock(root / ".lock"):
        copies.cache_bytes()


def test_a_database_goes_from_machine_to_machine(root, monkeypatch, tmp_path):
    path = root / "crawl" / "frontier.sqlite"
    for number in range(4):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"machine {number % 2}"))
        with closing(sqlite3.connect(fetch := _folder(path), isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("CREATE TABLE IF NOT EXISTS visits (number)")
            assert [row[0] for row in database.execute("SELECT number FROM visits")] == list(range(number)), fetch
            database.execute("INSERT INTO visits VALUES (?)", (number,))
        give_back_database(path)


def test_what_a_killed_command_had_written_to_a_database_is_still_there(root, monkeypatch, tmp_path):
    path = root / "llm" / "ledger.sqlite"
    for is_killed in (False, True, False):
        with closing(sqlite3.connect(_folder(path), isolation_level=None)) as database:
            database.execute("CREATE TABLE IF NOT EXISTS answers (text)")
            database.execute("INSERT INTO answers VALUES ('paid for')")
        if not is_killed:
            give_back_database(path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    with closing(sqlite3.connect(fetch_database(path))) as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (3,)


def _folder(path):
    local = fetch_database(path)
    local.parent.mkdir(parents=True, exist_ok=True)
    return local


def test_a_snapshot_reads_on_although_the_cache_was_emptied(root):
    table = StageTable(root, "screen", Screening)
    table.append([Outcome("c1", "a" * 32, DONE, record=Screening("c1", 5, "rules", ""))])
    snapshot = Snapshot(table)
    for path in (copies.cache_home() / "tables").rglob("*.parquet"):
        path.unlink()
    assert snapshot.lookup(["a" * 32])["a" * 32].item_id == "c1"


def test_a_data_file_that_is_no_longer_in_the_store_is_a_damage_that_is_said(root):
    table = StageTable(root, "screen", Screening)
    table.append([Outcome("c1", "a" * 32, DONE, record=Screening("c1", 5, "rules", ""))])
    snapshot = Snapshot(table)
    for path in [*table.path.rglob("*.parquet"), *(copies.cache_home() / "tables").rglob("*.parquet")]:
        path.unlink()
    with pytest.raises(DatasetCorrupt, match="this table is damaged"):
        snapshot.lookup(["a" * 32])
