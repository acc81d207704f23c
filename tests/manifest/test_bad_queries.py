"""Hostile conditions, and folders that hold no dataset: one clear line, and nothing is changed.

The classifier and the transcriber are stand-ins (see `fakes`); everything that touches files is real.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import manifest_row

from aria_data.errors import (
    DatasetNotFound,
    UsageError,
)
from aria_data.manifest import Manifest
from flows.remove import remove_items

SETTINGS = ("segment.min_segment_s=5",)
ADVICE = ("Get the", "Check ", "Remove ", "remove ", "Cut it")  # a failure says what to do next


# ---------------------------------------------------------------- queries

INJECTIONS = [
    "1=1); DROP TABLE manifest; --",
    "1=1) ; SELECT 1; (",
    "true) UNION ALL SELECT * FROM read_csv('/etc/passwd') --",
    "segment_id IN (SELECT column0 FROM read_csv('/etc/passwd'))",
    "exists (SELECT * FROM read_text('/etc/passwd'))",
    "exists (FROM '/etc/passwd')",
    "exists (FROM glob('/etc/*'))",
    "exists (FROM parquet_scan('http://127.0.0.1/x.parquet'))",
    "1=1); COPY manifest TO 'stolen.csv'; --",
    "COPY (SELECT 1) TO 'stolen.csv'",
    "1=1); ATTACH 'stolen.db' AS s; --",
    "1=1); INSTALL httpfs; LOAD httpfs; --",
    "1=1); SET enable_external_access = true; --",
    "1=1); PRAGMA database_list; --",
    "1=1); EXPORT DATABASE 'stolen'; --",
    "exists (SELECT * FROM columns)",  # a Python variable in sight of the query's function
    "exists (SELECT * FROM dataset)",
    "no_such_column = 1",
    "segment_id = ",
    "'unclosed",
    "(",
    "))",
    "segment_id = 5 +",
    "*",
    "num_notes = '\x00'",
    "composer = '\udcff'",
    "/* open comment",
    "sum(num_notes) > 1",
]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    root = tmp_path_factory.mktemp("released")
    Manifest(root).commit([manifest_row("local-1_0"), manifest_row("local-2_0", title="-- ;")])
    return root


@pytest.mark.parametrize("where", INJECTIONS)
def test_a_query_can_only_read_the_manifest_and_a_bad_one_is_one_line(released, where, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = content_of(released)
    with pytest.raises(UsageError) as caught:
        Manifest(released).query(where)
    assert str(caught.value).startswith("the query ")
    assert "\n" not in str(caught.value)
    assert "root:" not in str(caught.value)
    assert content_of(released) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["num_notes > 0 -- all", "num_notes > 0\nor false", "title = ';' or title <> '--'"])
def test_a_query_with_a_comment_a_line_break_or_odd_quotes_still_works(released, where):
    assert Manifest(released).query(where).num_rows == 2


@pytest.mark.parametrize("kind", ["missing", "empty", "a file", "other files"])
def test_a_folder_without_a_dataset_is_one_line_for_every_command_and_stays_as_it_is(tmp_path, kind):
    root = tmp_path / "nothing"
    if kind == "a file":
        root.write_text("x")
    elif kind != "missing":
        root.mkdir()
    if kind == "other files":
        (root / "manifest").mkdir()
        (root / "manifest" / "readme.txt").write_text("x")
    for action in (
        lambda: Manifest(root).rows(),
        lambda: Manifest(root).versions(),
        lambda: Manifest(root).diff(1, 2),
        lambda: Manifest(root).query("true"),
        lambda: remove_items(root, ["local-1_0"], "x"),
    ):
        with pytest.raises(DatasetNotFound, match="nothing: holds no released dataset"):
            action()
    assert [path.name for path in tmp_path.rglob("*")] == {
        "missing": [],
        "empty": ["nothing"],
        "a file": ["nothing"],
        "other files": ["nothing", "manifest", "readme.txt"],
    }[kind]


def content_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
