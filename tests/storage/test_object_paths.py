"""Paths and tables in an object store: as on a disk, written once, and again while the store does not answer."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import object_store as stores
import pyarrow as pa
import pytest
from places import ROOT

from aria_data.errors import UsageError
from aria_data.storage import is_remote, open_root, write_whole, writing_whole
from aria_data.storage.delta_tables import create_delta, data_files, open_delta, remove_orphans
from aria_data.storage.stage_tables import DONE, Outcome, RecordTable, StageTable
from aria_data.stores import small_puts
from aria_data.stores.store_errors import StoreDenied, StoreUnreachable, said


@dataclass(frozen=True)
class Fact:
    name: str
    number: int = 0


@pytest.fixture
def faults(object_store, bucket, monkeypatch):
    """The store behind a proxy that makes faults; commands wait for it for some seconds."""
    with stores.Faults(object_store) as faults:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faults.address)
        monkeypatch.setenv("ARIA_DATA_STORE_PATIENCE_S", "20")
        yield faults


@pytest.mark.parametrize("place", ["dataset", "/a/dataset", "./s3/dataset", "file:///a/dataset"])
def test_a_folder_stays_a_path_of_the_disk(place):
    assert type(open_root(place)) is type(Path())
    assert not is_remote(open_root(place))


@pytest.mark.parametrize(
    "place", ["s3://bucket", "s3://", "s3:///dataset", "s3://bucket//x", "gs://b/../x", "ftp://h/d"]
)
def test_an_address_that_names_no_dataset_is_refused(place):
    with pytest.raises(UsageError, match="bucket|BUCKET"):
        open_root(place)


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_place_in_a_store_has_names_as_a_path_has(scheme):
    root = open_root(f"{scheme.upper()}://bucket/sets/mine/")
    path = root / "midi" / "ab" / "one.mid"
    assert str(path) == f"{scheme}://bucket/sets/mine/midi/ab/one.mid"
    assert (path.name, path.stem, path.suffix, path.parent) == ("one.mid", "one", ".mid", root / "midi/ab")
    assert path.relative_to(root).as_posix() == "midi/ab/one.mid"
    assert root in path.parents
    assert path.with_suffix(".json").name == "one.json"
    assert root.absolute() == root.resolve() == root
    with pytest.raises(TypeError):
        Path(root)  # nothing takes it for a path of this disk by mistake


def test_a_store_whose_package_is_not_installed_is_named_with_what_to_install():
    with pytest.raises(UsageError, match=r"needs the package gcsfs. Install it: pip install 'aria-data\[gs\]'"):
        open_root("gs://bucket/dataset").exists()


def test_objects_are_written_read_listed_and_deleted_as_files_are(bucket, tmp_path):
    for root in (open_root(bucket), tmp_path / "there"):
        write_whole(root / "a" / "one.json", b"1")
        with writing_whole(root / "a" / "b" / "two.json") as file:
            file.write(b"22")
        with contextlib.suppress(RuntimeError), writing_whole(root / "a" / "half.json") as file:
            file.write(b"half")
            raise RuntimeError
        assert [path.name for path in sorted((root / "a").glob("*"))] == ["b", "one.json"]
        assert [path.name for path in (root / "a").glob("*/*.json")] == ["two.json"]
        assert sorted(path.name for path in root.rglob("*.json")) == ["one.json", "two.json"]
        assert (root / "a").is_dir()
        assert not (root / "a").is_file()
        assert (root / "a" / "one.json").is_file()
        assert not (root / "c").exists()
        assert (root / "a" / "b" / "two.json").stat().st_size == 2
        (root / "a" / "one.json").unlink()
        (root / "a" / "one.json").unlink(missing_ok=True)
        with pytest.raises(FileNotFoundError):
            (root / "a" / "one.json").read_bytes()


def test_a_small_object_is_one_request_and_a_large_one_goes_in_parts_or_by_fsspec(faults, bucket, monkeypatch):
    root, seen = open_root(bucket), []
    faults.plan = lambda method, path, number: seen.append(f"{method} {path}") or ""
    small_puts._store.cache_clear()
    write_whole(root / "x" / "a b #é?%20~.mid", b"small")
    assert len(seen) == 1
    assert (root / "x" / "a b #é?%20~.mid").read_bytes() == b"small"
    monkeypatch.setattr(small_puts, "MOST_BYTES", 4)
    assert not small_puts.put_small("s3", str((root / "large").key), b"large")
    write_whole(root / "large", b"large")
    assert (root / "large").read_bytes() == b"large"
    for scheme in ("gs", "az"):
        assert not small_puts.put_small(scheme, "bucket/name", b"")


def test_a_process_that_was_forked_after_a_put_writes_all_the_same(bucket):
    root = open_root(bucket)
    write_whole(root / "before", b"1")
    process = os.fork()
    if process == 0:
        os._exit(0 if not small_puts.put_small("s3", str((root / "after").key), b"1") else 1)
    assert os.waitpid(process, 0)[1] == 0


def test_credentials_that_end_are_asked_for_again(object_store, bucket, monkeypatch, tmp_path):
    """They come from a program, as of a company's sign-on; those of the environment have no end."""
    assert small_puts._Credentials()()["expires_at"] is None
    said = {
        "Version": 1,
        "AccessKeyId": stores.ACCESS_KEY,
        "SecretAccessKey": stores.SECRET_KEY,
        "Expiration": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    }
    (tmp_path / ".aws").mkdir()
    (tmp_path / "said.json").write_text(json.dumps(said))
    (tmp_path / ".aws" / "config").write_text(f"[default]\ncredential_process = cat {tmp_path / 'said.json'}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    given = small_puts._Credentials()()
    assert given["access_key_id"] == stores.ACCESS_KEY
    assert given["expires_at"] - datetime.now(UTC) <= small_puts.ASK_AGAIN
    assert small_puts.put_small("s3", str((open_root(bucket) / "one").key), b"1")


def test_of_many_who_create_an_object_one_succeeds(bucket):
    path = open_root(bucket) / "lock"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: path.create(f"by {number}".encode()), range(8)))
    assert sum(made) == 1
    assert path.read_text() == f"by {made.index(True)}"


def test_who_created_an_object_knows_it_though_the_answer_was_lost(faults, bucket):
    faults.plan = lambda method, path, number: stores.LOSE if method == "PUT" and number == 1 else ""
    assert (open_root(bucket) / "lock").create(b"by me")
    assert faults.made


@pytest.mark.parametrize("fault", [stores.BUSY, stores.SLOW, stores.CUT, stores.LOSE])
def test_what_a_store_does_not_answer_is_asked_again(fault, faults, bucket):
    path = open_root(bucket) / "one.json"
    faults.plan = lambda method, place, number: fault if number % 2 else ""
    write_whole(path, b"x" * 100_000)
    assert path.read_bytes() == b"x" * 100_000
    assert [each.name for each in path.parent.glob("*")] == ["one.json"]
    assert {made[0] for made in faults.made} == {fault}


@pytest.mark.parametrize("fault", [stores.BUSY, stores.CUT, stores.LOSE])
def test_rows_are_in_a_table_once_whatever_becomes_of_requests(fault, faults, bucket):
    table = StageTable(open_root(bucket), "facts", Fact)
    table.append([Outcome("0", "k0", DONE, record=Fact("0"))])
    faults.plan = stores.at_random(fault, share=0.2)
    for number in range(1, 4):
        table.append([Outcome(str(number), f"k{number}", DONE, record=Fact(str(number), number))])
        RecordTable(open_root(bucket), "latest", Fact).replace([Fact(str(number), number)])
    assert {made[0] for made in faults.made} == {fault}
    faults.plan = lambda method, place, number: ""
    assert sorted(one.record.number for one in table.all()) == [0, 1, 2, 3]
    assert RecordTable(open_root(bucket), "latest", Fact).read() == [Fact("3", 3)]


@pytest.mark.parametrize("fault", [stores.CUT, stores.LOSE])
def test_a_table_is_made_by_one_commit_though_the_answer_to_it_was_lost(fault, faults, bucket):
    path = open_root(bucket) / "tables" / "made"
    faults.plan = lambda method, place, number: fault if method == "PUT" and not faults.made else ""
    create_delta(path, schema=pa.schema({"name": pa.string()}))
    assert faults.made
    assert open_delta(path).version() == 0


def test_a_store_that_is_gone_is_said_in_one_line_with_what_to_do(bucket, monkeypatch):
    root = open_root(bucket)
    StageTable(root, "facts", Fact).append([Outcome("0", "k", DONE, record=Fact("0"))])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ARIA_DATA_STORE_PATIENCE_S", "0.5")
    for attempt in (
        lambda: (root / "one").read_bytes(),
        lambda: write_whole(root / "one", b"1"),
        lambda: StageTable(root, "facts", Fact).all(),
        lambda: StageTable(root, "facts", Fact).append([Outcome("1", "k1", DONE, record=Fact("1"))]),
    ):
        with pytest.raises(StoreUnreachable, match="does not answer .* run the same command again") as raised:
            attempt()
        assert "\n" not in str(raised.value)


def test_other_keys_and_none_are_told_from_a_damaged_table(bucket, monkeypatch):
    root = open_root(bucket)
    StageTable(root, "facts", Fact).append([Outcome("0", "k", DONE, record=Fact("0"))])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anotherSecret/of/nobody")
    for attempt in (
        lambda: (root / "one").exists(),
        lambda: write_whole(root / "one", b"1"),
        lambda: StageTable(root, "facts", Fact).all(),
    ):
        with pytest.raises(StoreDenied, match="refuses it with these credentials") as raised:
            attempt()
        assert "anotherSecret" not in str(raised.value)


def test_no_secret_of_the_environment_stands_in_a_message(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "much/too/secret")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sig=abc")
    assert said(OSError("refused: key much/too/secret\n\x1b[31msig=abc")) == "refused: key *** ***"


def test_the_files_of_a_profile_are_enough_for_all_three_clients(object_store, bucket, tmp_path):
    """Objects by fsspec, commits by delta-rs, rows by Arrow; the environment names only the profile."""
    (tmp_path / ".aws").mkdir()
    keys = f"aws_access_key_id = {stores.ACCESS_KEY}\naws_secret_access_key = {stores.SECRET_KEY}\n"
    (tmp_path / ".aws" / "credentials").write_text(f"[work]\n{keys}")
    (tmp_path / ".aws" / "config").write_text(
        f"[profile work]\nregion = us-east-1\nendpoint_url = {object_store.address}\n"
    )
    code = f"""
from aria_data.records import Rejection
from aria_data.storage import open_root, write_whole
from aria_data.storage.stage_tables import RecordTable
root = open_root({bucket!r})
write_whole(root / "one", b"1")
table = RecordTable(root, "rejections", Rejection)
table.replace([Rejection("a", "a", "u", "screen", "r", None, "", False)])
print(len(table.read()), (root / "one").read_text())
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"HOME": str(tmp_path), "AWS_PROFILE": "work"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1"], done.stderr


def test_what_a_killed_writer_left_is_deleted_when_no_other_can_still_commit_it(bucket, monkeypatch):
    root = open_root(bucket)
    table = StageTable(root, "facts", Fact)
    table.append([Outcome("0", "k", DONE, record=Fact("0"))])
    table.append([Outcome("1", "k1", DONE, record=Fact("1"))])
    write_whole(table.path / "part-left.parquet", b"half of a file")
    assert remove_orphans(table.path) == 0
    monkeypatch.setattr("aria_data.storage.delta_stores.GRACE_S", -5.0)
    assert remove_orphans(table.path) == 1
    assert len(table.all()) == 2


def test_versions_of_a_table_are_counted_as_on_a_disk(bucket):
    table = StageTable(open_root(bucket), "facts", Fact)
    assert open_delta(table.path) is None
    for number in range(3):
        table.append([Outcome(str(number), str(number), DONE, record=Fact("x"))])
    assert open_delta(table.path).version() == 2
    assert len(StageTable(open_root(bucket), "facts", Fact).records_of({"1": "1", "2": "2"})) == 2


def test_large_files_of_a_table_are_read_by_columns_and_small_ones_from_copies(bucket, monkeypatch):
    """What is asked of a table reads both, and row by row what a whole copy would give."""
    table = StageTable(open_root(bucket), "facts", Fact)
    for number in range(3):
        names = [f"{number} {'x' * 50 * number} {place}" for place in range(40)]
        table.append([Outcome(name, name, DONE, record=Fact(name, number)) for name in names])
    whole = sorted(one.item_id for one in table.all())
    sizes = sorted(path.stat().st_size for path in table.path.rglob("*.parquet"))
    monkeypatch.setattr("aria_data.storage.delta_stores.SMALL_BYTES", sizes[0])
    files = data_files(table.path, open_delta(table.path))
    read_as = [fragment.filesystem.type_name for fragment in files.get_fragments()]
    assert sum("copies" in name for name in read_as) == 1
    assert len(read_as) == 3
    assert sorted(one.item_id for one in table.all()) == whole
    assert len(table.lookup(whole[:7])) == 7
    assert sum(len(batch) for batch in table.columns(["number"])) == len(whole)
    assert files.count_rows() == len(whole)
