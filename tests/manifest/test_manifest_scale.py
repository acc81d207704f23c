"""Rows that come in batches, conditions in two steps, and versions with names and facts."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import manifest_row

import aria_data
from aria_data.errors import DatasetCorrupt, DatasetNotFound, UsageError
from aria_data.manifest import Manifest, row_queries
from aria_data.manifest.manifest import BATCH_ROWS, arrow_schema, content_sha256
from aria_data.release.rows_of_segments import release
from flows.cli.base import INTERRUPTED


def rows_of(*numbers: int, **values) -> list[dict]:
    return [manifest_row(f"local-{number:04d}_0", **values) for number in numbers]


def table_of(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=arrow_schema())


@pytest.fixture
def manifest(tmp_path):
    return Manifest(tmp_path)


# ---------------------------------------------------------------- rows in batches


def test_rows_in_batches_give_the_same_version_as_a_list_of_them(tmp_path):
    rows = rows_of(*range(50))
    given = {
        "list": rows,
        "tables": lambda: iter([table_of(rows[30:]), table_of(rows[:30])]),
        "batches": lambda: table_of(rows).to_batches(max_chunksize=7),
        "reader": lambda: pa.RecordBatchReader.from_batches(arrow_schema(), table_of(rows).to_batches()),
    }
    for name, one in given.items():
        assert Manifest(tmp_path / name).commit(one) == 1
        assert Manifest(tmp_path / name).rows() == rows
    versions = [Manifest(tmp_path / name).versions()[0] for name in given]
    assert {(one.content_sha256, one.num_files, one.hours) for one in versions} == {
        (content_sha256(rows), 50, versions[0].hours)
    }


def test_later_versions_in_batches_write_only_the_buckets_that_changed(manifest):
    rows = rows_of(*range(60))
    manifest.commit(lambda: [table_of(rows)])
    rows[5] |= {"title": "changed"}
    rows[6] |= {"removed_in": 2}
    del rows[7]
    before = set(manifest.path.rglob("*.parquet"))
    assert manifest.commit(lambda: [table_of(rows[:20]), table_of(rows[20:])]) == 2
    assert len({path.parent for path in set(manifest.path.rglob("*.parquet")) - before}) <= 3
    assert manifest.rows() == rows
    assert (manifest.versions()[1].num_files, manifest.versions()[1].num_removed) == (58, 1)
    assert manifest.append(lambda: [table_of(rows_of(70)), table_of(rows_of(71))]) == 3
    assert manifest.rows() == [*rows, *rows_of(70, 71)]


def test_batches_are_read_twice_and_never_held(manifest):
    opened, alive = [], []

    def batches() -> Iterator[pa.Table]:
        opened.append(1)
        for start in range(0, 200, 20):
            yield table_of(rows_of(*range(start, start + 20)))
            alive.append(pa.total_allocated_bytes())

    manifest.commit(batches)
    assert len(opened) == 2
    assert max(alive[:10]) - min(alive[:10]) < 10 * table_of(rows_of(*range(20))).nbytes


def test_a_column_that_only_some_batches_have_is_empty_in_the_others(manifest):
    old = table_of(rows_of(1)).drop_columns(["removal_reason"])
    new = table_of(rows_of(2)).append_column("in_new", pa.array([True]))
    manifest.commit(lambda: [old, new])
    assert [row["in_new"] for row in manifest.rows()] == [None, True]
    assert manifest.content_sha256() == content_sha256([*rows_of(1), *rows_of(2, in_new=True)])


def test_batches_that_change_between_readings_write_no_version(manifest):
    contents = [rows_of(1, 2), rows_of(1, 3)]
    with pytest.raises(UsageError, match="not the same when they are read again"):
        manifest.commit(lambda: [table_of(contents.pop(0))])
    assert manifest.version() == 0
    fewer = [rows_of(1, 2), rows_of(1)]
    with pytest.raises(UsageError, match="not the same when they are read again"):
        manifest.commit(lambda: [table_of(fewer.pop(0))])
    assert manifest.version() == 0
    assert manifest.commit(rows_of(1)) == 1


@pytest.mark.parametrize("is_called", [True, False])
def test_an_id_that_is_there_twice_or_missing_is_one_line(manifest, is_called):
    for rows, words in ((rows_of(1, 2, 1), "'local-0001_0' is there twice"), ([{"title": "x"}], "has no segment_id")):
        with pytest.raises(UsageError, match=words):
            manifest.commit((lambda rows=rows: [table_of(rows)]) if is_called else rows)
    assert not manifest.path.exists()


def test_more_rows_than_a_batch_are_all_there(manifest):
    count = 2 * BATCH_ROWS + 1
    table = table_of(rows_of(1)).drop_columns(["segment_id"]).take(pa.array([0] * count))
    ids = pa.array([f"local-{number:06d}_0" for number in range(count)])
    whole = table.append_column("segment_id", ids)
    manifest.commit(lambda: [whole])
    assert manifest.query("", columns=["segment_id"])["segment_id"].to_pylist() == ids.to_pylist()
    assert manifest.versions()[0].num_files == count


# ---------------------------------------------------------------- conditions in two steps


CONDITIONS = ["", " ", "num_notes > 40", "title = 'b' or removed_in is not null", "num_notes % 7 = 3", "false"]


@pytest.mark.parametrize("few", [5, *(pytest.param(few, marks=pytest.mark.slow) for few in (0, 1000))])
def test_rows_are_the_same_however_they_are_read(manifest, monkeypatch, few):
    rows = [manifest_row(f"local-{number:04d}_0", num_notes=number, title="abc"[number % 3]) for number in range(90)]
    rows[4] |= {"removed_in": 1, "removal_reason": "x"}
    manifest.commit(rows)
    monkeypatch.setattr(row_queries, "FEW", few)
    tests = [
        lambda row: row["removed_in"] is None,
        lambda row: row["removed_in"] is None,
        lambda row: row["removed_in"] is None and row["num_notes"] > 40,
        lambda row: row["title"] == "b" or row["removed_in"] is not None,
        lambda row: row["removed_in"] is None and row["num_notes"] % 7 == 3,
        lambda row: False,
    ]
    for where, holds in zip(CONDITIONS, tests, strict=True):
        expected = [row for row in rows if holds(row)]
        found = manifest.query(where)
        assert found.to_pylist() == expected
        assert found.schema == arrow_schema()
        assert manifest.query(where, limit=3).to_pylist() == expected[:3]
        assert manifest.query(where, columns=["title", "nope", "num_notes"]).to_pylist() == [
            {name: row[name] for name in manifest.column_names() if name in ("title", "num_notes")} for row in expected
        ]


@pytest.mark.parametrize("segment_id", ["it's", "a'' OR 1=1 --", 'say "x"', "back\\slash'", "ö ü", "a\nb", ";"])
def test_an_id_with_odd_characters_is_found_and_only_it(manifest, segment_id):
    manifest.commit(
        [manifest_row("local-1_0"), {**manifest_row("local-2_0"), "segment_id": segment_id, "num_notes": 7}]
    )
    assert manifest.query("num_notes = 7")["segment_id"].to_pylist() == [segment_id]
    assert manifest.query("num_notes = 1")["segment_id"].to_pylist() == ["local-1_0"]


def test_a_condition_that_closes_our_bracket_is_refused(manifest):
    manifest.commit(rows_of(1, 2))
    for where in ("true) union all select segment_id from manifest where (true",):
        with pytest.raises(UsageError, match="the query cannot be understood: Parser Error"):
            manifest.query(where)


@pytest.mark.parametrize(
    ("where", "num_found"),
    [
        ("title <> 'removed_in'", 1),
        ("true -- removed_in", 1),
        ('\'"column_names":["removed_in"]\' <> title', 1),
        ("removed_in is not null or true", 2),
        ("manifest.REMOVED_IN = 2 or true", 2),
        ("segment_id in (select segment_id from manifest where removed_in = 2)", 1),
    ],
)
def test_only_a_condition_that_asks_of_removed_rows_gets_them(manifest, where, num_found):
    manifest.commit([*rows_of(1), *rows_of(2, removed_in=2)])
    assert manifest.query(where).num_rows == num_found


ENDLESS = "exists(with recursive t as (select 1 x union all select x + 1 from t) select count(*) from t)"


def test_a_condition_that_never_ends_is_stopped(manifest, monkeypatch):
    manifest.commit(rows_of(1, 2))
    monkeypatch.setattr(row_queries, "QUERY_S", 0.3)
    with pytest.raises(UsageError, match=r"the query was stopped after 0\.3 s"):
        manifest.query(ENDLESS)
    monkeypatch.undo()
    assert manifest.query("num_notes > 0").num_rows == 2


def test_a_call_that_hears_no_interrupt_is_left_behind(monkeypatch):
    monkeypatch.setattr(row_queries, "QUERY_S", 0.1)
    monkeypatch.setattr(row_queries, "GRACE_S", 0.1)
    can_end = threading.Event()
    try:
        with pytest.raises(UsageError, match=r"stopped after 0\.1 s"):
            row_queries._in_time(can_end.wait, lambda: None)
    finally:
        can_end.set()


SAYS_WHEN_ASKED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has its children ignore it
from aria_data.manifest import row_queries
from flows.cli.command import main

def search(*arguments, search=row_queries._search):
    print("asked", flush=True)
    return search(*arguments)

row_queries._search = search
main()
"""


def test_ctrl_c_ends_a_condition_that_never_ends(tmp_path, manifest):
    manifest.commit(rows_of(1, 2))
    command = [sys.executable, "-c", SAYS_WHEN_ASKED, "query", str(tmp_path), ENDLESS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout.readline() == "asked\n"
            time.sleep(0.5)
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=250)  # a guard against hanging
        finally:
            running.kill()
    assert running.returncode == INTERRUPTED
    assert re.fullmatch("aria-data: stopped[^\n]*", said.strip())


def test_memory_beyond_the_limit_is_one_line(manifest, monkeypatch):
    manifest.commit(rows_of(1, 2))
    monkeypatch.setattr(row_queries, "MEMORY", "20MB")
    with pytest.raises(UsageError, match="the query cannot be understood: Out of Memory Error"):
        manifest.query("(select count(distinct x) from range(20000000) t(x)) > 0")


@pytest.mark.parametrize("where", ["error(chr(27) || '[2J' || title)", "(chr(27) || title)::int > 0"])
def test_what_an_error_quotes_cannot_reach_the_terminal(manifest, where):
    manifest.commit(rows_of(1, title="x" * 3_000_000))
    with pytest.raises(UsageError, match=r"\\x1b") as raised:
        manifest.query(where)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("where", ["true; select 1", "true limit 1", "true union all select 'x'", "true) or (true"])
def test_what_is_more_than_a_condition_is_refused(manifest, where):
    manifest.commit(rows_of(1, 2))
    with pytest.raises(UsageError, match=r"must be one condition|cannot be understood: Parser Error"):
        manifest.query(where)


def test_a_deep_condition_is_still_one(manifest):
    manifest.commit(rows_of(1, 2))
    assert manifest.query(" || ".join(["title"] * 800) + " <> ''").num_rows == 2


def test_a_data_file_lost_between_the_two_steps_is_one_line(manifest, monkeypatch):
    manifest.commit(rows_of(1, 2))
    find = row_queries.ids_where

    def find_and_lose(*arguments):
        found = find(*arguments)
        for path in manifest.path.rglob("*.parquet"):
            path.unlink()
        return found

    monkeypatch.setattr(row_queries, "ids_where", find_and_lose)
    with pytest.raises(DatasetCorrupt, match="a data file is missing or damaged") as error:
        manifest.query("num_notes > 0")
    assert "\n" not in str(error.value)


def test_a_column_newer_than_the_table_is_read_as_empty(tmp_path, manifest, monkeypatch):
    manifest.commit(rows_of(1, 2))
    old = pa.schema([field for field in arrow_schema() if field.name != "title"])
    other = Manifest(tmp_path / "old")
    from deltalake import write_deltalake

    other.path.mkdir(parents=True)
    table = table_of(rows_of(1, 2)).select(old.names).append_column("bucket", pa.array(["0", "0"]))
    write_deltalake(str(other.path), table.slice(0, 0), partition_by=["bucket"])
    write_deltalake(str(other.path), table, mode="append")
    for few in (0, 10):
        monkeypatch.setattr(row_queries, "FEW", few)
        assert other.query("num_notes > 0").to_pylist() == rows_of(1, 2, title=None)
        assert other.query("title is null", columns=["title"]).to_pylist() == [{"title": None}] * 2
    assert other.diff(1, 1).changed == {}


def test_a_diff_of_many_rows_is_that_of_few(manifest, monkeypatch):
    rows = [manifest_row(f"local-{number:04d}_0", num_notes=number) for number in range(40)]
    manifest.commit(rows)
    manifest.commit([{**row, "title": "new", "genre": None} if row["num_notes"] % 2 else row for row in rows])
    found = manifest.diff(1, 2)
    assert found.changed == {row["segment_id"]: ["title", "genre"] for row in rows[1::2]}
    monkeypatch.setattr(row_queries, "FEW", 3)
    assert manifest.diff(1, 2) == found


def test_a_program_that_has_queried_ends_cleanly(tmp_path, manifest):
    manifest.commit(rows_of(*range(30)))
    code = (
        "import sys, pathlib; from aria_data.manifest.manifest import Manifest; "
        "print(Manifest(pathlib.Path(sys.argv[1])).query('num_notes > 0').num_rows)"
    )
    for _ in range(3):
        ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
        assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, "30", "")


def test_data_files_have_pages_of_few_rows(manifest):
    manifest.commit(rows_of(*range(20)))
    for path in manifest.path.rglob("*.parquet"):
        chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
        assert chunk.compression == "SNAPPY"
        assert chunk.has_offset_index


# ---------------------------------------------------------------- names and facts

FACTS = {"name": "spring-2027", "code": {"commit": "abc"}, "counts": [1, 2.5, None], "note": "Ü\n'"}


def test_facts_come_back_with_their_version_and_name_it(manifest):
    manifest.commit(rows_of(1), facts=FACTS)
    manifest.append(rows_of(2), "more", {"name": "summer"})
    manifest.commit(rows_of(1, 2, 3))
    versions = manifest.versions()
    assert [version.facts for version in versions] == [FACTS, {"name": "summer"}, {}]
    assert [version.name for version in versions] == ["spring-2027", "summer", ""]
    assert versions[1].note == "more"


def test_a_version_is_found_by_its_number_as_by_its_name(manifest, tmp_path):
    manifest.commit(rows_of(1), facts=FACTS)
    manifest.commit(rows_of(1, 2))
    assert [manifest.number_of(one) for one in ("spring-2027", "1", 1, "2", None)] == [1, 1, 1, 2, 2]
    assert manifest.rows("spring-2027") == rows_of(1)
    assert manifest.query("", "spring-2027").num_rows == 1
    assert manifest.content_sha256("spring-2027") == manifest.versions()[0].content_sha256
    assert manifest.diff("spring-2027", "2").added == ["local-0002_0"]
    assert manifest.column_names("spring-2027") == manifest.column_names(1)
    opened = aria_data.Dataset(tmp_path, "spring-2027")
    assert (opened.version, opened.table().num_rows) == (1, 1)


def test_a_name_that_is_not_there_is_one_line_with_those_that_are(manifest, tmp_path):
    with pytest.raises(DatasetNotFound, match="holds no released dataset"):
        manifest.number_of("spring-2027")
    manifest.commit(rows_of(1))
    with pytest.raises(DatasetNotFound, match="has no version 'x'; its versions are 1 to 1, none has a name"):
        manifest.number_of("x")
    manifest.commit(rows_of(1, 2), facts=FACTS)
    for ask in (manifest.number_of, manifest.rows, lambda name: aria_data.Dataset(tmp_path, name)):
        with pytest.raises(
            DatasetNotFound, match=r"no version 'x\\ny'; .* 1 to 2, named are spring-2027 \(2\)"
        ) as error:
            ask("x\ny")
        assert "\n" not in str(error.value)
    with pytest.raises(DatasetNotFound, match="has no version 9; its versions are 1 to 2"):
        manifest.number_of("9")
    with pytest.raises(DatasetNotFound, match="has no version ''"):
        manifest.number_of("")


def test_a_name_is_given_once(manifest):
    manifest.commit(rows_of(1), facts=FACTS)
    for write in (manifest.commit, manifest.append):
        with pytest.raises(UsageError, match="version 1 is named 'spring-2027' already"):
            write(rows_of(2), facts={"name": "spring-2027"})
    with pytest.raises(UsageError, match="already"):
        manifest.require_free("spring-2027")
    manifest.require_free("autumn")
    manifest.require_free("")
    assert manifest.version() == 1


@pytest.mark.parametrize("name", ["7", "two words", "-x", "a/b", "a\nb", "a" * 81, 7, None])
def test_what_cannot_name_a_version_is_one_line(manifest, name):
    with pytest.raises(UsageError, match="cannot name a version") as error:
        manifest.commit(rows_of(1), facts={"name": name})
    assert "\n" not in str(error.value)
    assert not manifest.path.exists()


@pytest.mark.parametrize("facts", [{"x": object()}, {"x": float("nan")}, {"x": {1, 2}}])
def test_facts_that_are_no_json_are_refused(manifest, facts):
    with pytest.raises(UsageError, match="must be plain values of JSON"):
        manifest.commit(rows_of(1), facts=facts)
    assert not manifest.path.exists()


def test_the_same_rows_under_a_new_name_are_a_version_that_writes_no_rows(manifest):
    manifest.commit(rows_of(1, 2))
    before = set(manifest.path.rglob("*.parquet"))
    assert release(manifest, rows_of(1, 2), facts={"name": "again"}) == (2, True)
    assert set(manifest.path.rglob("*.parquet")) == before
    assert (manifest.rows("again"), manifest.versions()[1].num_files) == (rows_of(1, 2), 2)


def test_versions_are_read_below_a_path_that_an_address_would_escape(tmp_path):
    manifest = Manifest(tmp_path / "my set #1? 50% é")
    manifest.commit(rows_of(1), facts=FACTS)
    manifest.append(rows_of(2))
    assert [(version.number, version.name, version.num_files) for version in manifest.versions()] == [
        (1, "spring-2027", 1),
        (2, "", 2),
    ]
    assert manifest.query("num_notes > 0", "spring-2027").num_rows == 1
    assert manifest.query("num_notes > 0").num_rows == 2


@pytest.mark.parametrize(
    "facts",
    [
        "[1]",
        '{"name": 5}',
        '{"name": "\\u001b[2J"}',
        "not JSON",
        '{"x": NaN}',
        "7",
        7,
        None,
        {"name": "x"},
        "[" * 10**5,
    ],
    ids=lambda facts: str(facts)[:20],
)
def test_facts_from_elsewhere_that_are_none_are_empty(manifest, facts):
    manifest.commit(rows_of(1), "a note", FACTS)
    log = manifest.path / "_delta_log" / f"{1:020}.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    next(line for line in lines if "commitInfo" in line)["commitInfo"]["aria_facts"] = facts
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (version,) = manifest.versions()
    assert (version.name, version.facts, version.note, version.num_files) == ("", {}, "a note", 1)


def test_a_damaged_log_is_one_line(manifest):
    manifest.commit(rows_of(1))
    (manifest.path / "_delta_log" / f"{1:020}.json").write_text('{"commitInfo": garbage')
    for ask in (manifest.versions, lambda: manifest.number_of("x")):
        with pytest.raises(DatasetCorrupt, match="this table is damaged") as error:
            ask()
        assert "\n" not in str(error.value)
