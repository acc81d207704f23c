"""A version of which most rows are kept as they were is the version that all its rows would make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from fakes import manifest_row

from aria_data.manifest import Manifest
from aria_data.manifest.manifest import content_sha256

IDS = [f"local-{number:04}_0" for number in range(300)]


def rows_of(ids: list[str]) -> list[dict]:
    return [manifest_row(each, in_few=each < IDS[150], weight_few=0.5) for each in ids]


@pytest.mark.parametrize(
    ("changed", "added", "gone"),
    [([], [], []), ([7], [], []), ([], ["local-9999_0"], []), ([3, 9], ["local-0000_9"], [4, 5, 6]), ([], [], [20])],
)
def test_with_rows_that_are_kept_the_next_version_is_as_with_all_of_them(changed, added, gone, tmp_path):
    before = rows_of(IDS)
    kept_ids = [each for number, each in enumerate(IDS) if number not in {*changed, *gone}]
    now = [manifest_row(each, title="another") for each in [*(IDS[number] for number in changed), *added]]
    whole, parts = Manifest(tmp_path / "whole"), Manifest(tmp_path / "parts")
    for manifest in (whole, parts):
        manifest.commit(before)
    whole.commit([*now, *rows_of(kept_ids)])
    parts.commit(now, kept=parts.kept_rows(pa.chunked_array([pa.array(kept_ids)])))
    assert parts.rows() == whole.rows()
    versions = [replace(manifest.versions()[-1], released_at="") for manifest in (parts, whole)]
    assert versions[0] == versions[1]
    assert parts.content_sha256() == versions[0].content_sha256 == content_sha256(parts.rows())
    assert_sorted(parts)


def assert_sorted(manifest: Manifest) -> None:
    """Every file is sorted by segment_id, so that one row is found without reading many."""
    for file in Path(manifest.path).rglob("*.parquet"):
        ids = pq.read_table(file, columns=["segment_id"])["segment_id"]
        assert pc.all(pc.less(ids[:-1], ids[1:]), min_count=0).as_py()
