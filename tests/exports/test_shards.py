"""Shards are read by several workers of several ranks as it is printed: every file once, and no shard empty."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from datasets_made import row_with_midi, song
from places import ROOT

import aria_data
from aria_data import exports
from aria_data.errors import UsageError
from aria_data.exports.writing import shards_of
from aria_data.manifest import Manifest
from flows.cli.command import cli

SHOW = """
    seen = globals().get("seen", []) + [({})["segment_id"]]
print("SEEN", json.dumps(seen) if "seen" in globals() else "[]")
"""


def make(root: Path, **splits: int) -> aria_data.Dataset:
    """A dataset with so many files of each split."""
    rows = [
        row_with_midi(root, f"web-{split}{number:03d}_0", song(number), split=split, in_unique=number == 0)
        for split, count in splits.items()
        for number in range(count)
    ]
    Manifest(root).commit(rows)
    return aria_data.Dataset(root)


def ids_of(dataset: aria_data.Dataset, split: str) -> list[str]:
    return [row["segment_id"] for row in dataset.rows(f"split = '{split}'")]


def sizes(out: Path) -> dict[str, list[int]]:
    """The number of rows of each file, by split and folder."""
    facts = json.loads((out / "export.json").read_text())["files"]
    found: dict[str, list[int]] = {}
    for name, counts in facts.items():
        found.setdefault(re.sub(r"-\d{5}.*", "", name), []).append(counts["num_rows"])
    return found


@pytest.mark.parametrize("format_", exports.SHARDED)
def test_a_split_has_eight_shards_of_about_as_many_files_and_fewer_only_where_there_are_fewer_files(tmp_path, format_):
    dataset = make(tmp_path / "set", train=43, validation=8, test=3)
    exports.export(dataset, tmp_path / "out", format_, "NOT in_unique" if format_ == "huggingface" else "")
    found = {name.split("/")[-1]: numbers for name, numbers in sizes(tmp_path / "out").items()}
    less = int(format_ == "huggingface")
    assert {name: len(numbers) for name, numbers in found.items()} == {
        "train": 8,
        "validation": 8 - less,
        "test": 3 - less,
    }
    for numbers in found.values():
        assert max(numbers) - min(numbers) <= 1
        assert min(numbers) > 0


@pytest.mark.parametrize(
    ("num_rows", "at_least", "sizes_"),
    [(10, 8, [1, 1, 1, 2, 1, 1, 1, 2]), (3, 8, [1, 1, 1]), (10, 1, [3, 3, 4]), (10, 2, [3, 3, 4]), (0, 8, [])],
)
def test_shards_are_as_many_as_asked_for_and_more_where_one_would_be_too_large(num_rows, at_least, sizes_):
    rows = pa.table({"a": range(num_rows)})
    shards = shards_of(rows, at_least, max_rows=4)
    assert [len(shard) for shard in shards] == sizes_
    assert [value for shard in shards for value in shard["a"].to_pylist()] == list(range(num_rows))


@pytest.mark.parametrize("format_", exports.SHARDED)
def test_shards_can_be_chosen_and_the_same_choice_gives_the_same_bytes(tmp_path, format_):
    dataset = make(tmp_path / "set", train=20)
    for name in ("a", "b"):
        arguments = ["export", str(tmp_path / "set"), "--format", format_, "--out", str(tmp_path / name)]
        ran = CliRunner().invoke(cli, [*arguments, "--shards", "5", "--where", "NOT in_unique"])
        assert ran.exit_code == 0, ran.output
    assert list(sizes(tmp_path / "a").values()) == [[3, 4, 4, 4, 4]]
    contents = [{p.name: p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()} for name in ("a", "b")]
    assert contents[0] == contents[1]
    for format_, shards in (("folder", 4), ("webdataset", 0)):
        with pytest.raises(UsageError, match="give 1 or more, for the formats huggingface and webdataset only"):
            exports.export(dataset, tmp_path / "c", format_, shards=shards)


def blocks(text: str, word: str) -> str:
    (block,) = (each for each in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if word in each)
    return block


def read_by_ranks(tmp_path: Path, code: str, row: str, num_ranks: int = 2) -> list[list[str]]:
    """Run what is printed in a process a rank, and give the segments that each rank has seen, in order."""
    script = tmp_path / "train.py"
    script.write_text("import json\n" + code.rstrip() + SHOW.format(row))
    home = {name: str(tmp_path / "cache") for name in ("HF_HOME", "HF_DATASETS_CACHE", "XDG_CACHE_HOME")}
    found = []
    for rank in range(num_ranks):
        surroundings = {"RANK": str(rank), "WORLD_SIZE": str(num_ranks), "HF_HUB_OFFLINE": "1", **home}
        ran = subprocess.run(
            [sys.executable, "-W", "ignore", str(script)],
            cwd=tmp_path,
            env=os.environ | surroundings,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert ran.returncode == 0, ran.stderr
        found.append(json.loads(ran.stdout.rpartition("SEEN ")[2]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 21])
@pytest.mark.parametrize("printed_in", ["guide", "export"])
def test_the_webdataset_call_reads_each_file_once_with_two_workers_of_two_ranks(tmp_path, count, printed_in):
    dataset = make(tmp_path / "set", train=count, test=1)
    out = tmp_path / "shards"
    exports.export(dataset, out, "webdataset")
    text = (ROOT / "docs" / "training.md" if printed_in == "guide" else out / "README.md").read_text(encoding="utf-8")
    found = read_by_ranks(tmp_path, blocks(text, "webdataset"), "row")
    assert Counter(found[0] + found[1]) == Counter(ids_of(dataset, "train"))
    if count > 3:
        assert min(map(len, found)) >= 10


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 21])
@pytest.mark.parametrize("printed_in", ["guide", "export"])
def test_the_hugging_face_call_reads_each_row_once_with_two_workers_of_two_ranks(tmp_path, count, printed_in):
    dataset = make(tmp_path / "set", train=count, test=1)
    out = tmp_path / "export"
    exports.export(dataset, out, "huggingface")
    text = (ROOT / "docs" / "training.md" if printed_in == "guide" else out / "README.md").read_text(encoding="utf-8")
    code = blocks(text, "split_dataset_by_node").replace("PATH OR NAME", "export/")
    if printed_in == "export":
        code = "from datasets import load_dataset\n" + code
    found = read_by_ranks(tmp_path, code, "row")
    assert Counter(found[0] + found[1]) == Counter(ids_of(dataset, "train"))


def test_what_has_no_rows_is_said_and_the_printed_call_loads_what_there_is(tmp_path):
    rows = [row_with_midi(tmp_path / "set", f"web-{n}_0", song(n), split="test", in_unique=False) for n in range(3)]
    for row in rows:
        row["in_deduplicated"] = row["segment_id"] == "web-0_0"
    Manifest(tmp_path / "set").commit(
        [
            *rows,
            row_with_midi(
                tmp_path / "set", "web-9_0", song(9), split="validation", in_unique=False, in_deduplicated=False
            ),
        ]
    )
    out = tmp_path / "export"
    arguments = ["export", str(tmp_path / "set"), "--format", "huggingface", "--out", str(out)]
    ran = CliRunner().invoke(cli, arguments)
    missing = "split train, configuration unique, split validation of configuration deduplicated"
    assert f"Without rows, and so not there: {missing}." in ran.output
    card = (out / "README.md").read_text(encoding="utf-8")
    assert f"Without rows, and so not there: {missing}." in card
    code = blocks(card, "first.mid").replace("PATH OR NAME", "export/")
    script = code + "\nprint(len(rows), len(load_dataset('export/', 'deduplicated', split='test')))"
    surroundings = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-W", "ignore", "-c", script]
    ran = subprocess.run(command, cwd=tmp_path, env=surroundings, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["1", "1"]
    assert (tmp_path / "first.mid").read_bytes() == song(9)


def test_a_split_without_files_has_no_shard_and_the_readme_names_one_that_has(tmp_path):
    out = tmp_path / "shards"
    result = exports.export(make(tmp_path / "set", test=2), out, "webdataset")
    assert result.without_rows == ("split train", "split validation")
    text = (out / "README.md").read_text(encoding="utf-8")
    assert 'glob("shards/test-*.tar")' in text
    assert "| train | 0 | 0 |" in text
    assert sizes(out) == {"test": [1, 1]}


def test_hugging_face_shards_hold_equally_many_rows(tmp_path):
    exports.export(make(tmp_path / "set", train=30), tmp_path / "out", "huggingface", "NOT in_unique")
    numbers = [pq.read_metadata(path).num_rows for path in (tmp_path / "out" / "data").rglob("*.parquet")]
    assert sorted(numbers) == [3, 3, 3, 4, 4, 4, 4, 4]
