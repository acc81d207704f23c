"""The score table comes back as it was written, opens in other programs, and says what is wrong with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from places import ROOT

from aria_data.errors import DatasetCorrupt, DatasetNotFound, UsageError
from aria_data.pruning import Budget, ScoreTable, SelectConfig, select
from aria_data.pruning.score_table import RANDOM

ABOUT = {"scorers": {"el2n": 1}, "seeds": [0, 1], "manifest": {"version": 3, "content_sha256": "ab" * 32}}


def table(**more: object) -> ScoreTable:
    values = {
        "ids": ["c", "a", "b", "d"],
        "columns": {"loss": [3.0, 1.0, 2.0, 4.0], "el2n": [0.3, 0.1, math.nan, 0.2]},
        "group": ["fugue", "fugue", "", "waltz"],
        "minutes": [3.5, 1.5, 2.5, 4.5],
        "num_notes": [30, 10, 20, 40],
        "about": ABOUT,
    }
    return ScoreTable.of(**{**values, **more})  # type: ignore[arg-type]


def many(num: int = 300) -> ScoreTable:
    rng = np.random.default_rng(0)
    loss = rng.normal(size=num)
    columns = {"loss": loss, "el2n": np.exp(loss), "vog": -loss, "constant": np.ones(num)}
    return ScoreTable.of([f"{number:03d}" for number in range(num)], columns)


def test_rows_are_sorted_by_id_with_all_that_belongs_to_them():
    made = table()
    assert made.ids == ("a", "b", "c", "d")
    assert list(made.columns["loss"]) == [1, 2, 3, 4]
    assert list(made.group) == ["fugue", "", "fugue", "waltz"]
    assert list(made.minutes) == [1.5, 2.5, 3.5, 4.5]
    assert list(made.num_notes) == [10, 20, 30, 40]


def test_three_random_scores_are_always_there_and_stay_when_files_are_added():
    few, more = table(), ScoreTable.of(["a", "aa", "b", "c", "d", "e"], {})
    for name in RANDOM:
        of_more = dict(zip(more.ids, more.columns[name], strict=True))
        assert [of_more[each] for each in few.ids] == list(few.columns[name])
    assert abs(many().rank_correlations()["random_0"]["random_1"]) < 0.2  # 300 files: sd 0.06
    assert 0 < many().columns["random_2"].min() < 0.02 < 0.98 < many().columns["random_2"].max() < 1


def test_a_saved_table_comes_back_as_it_was(tmp_path):
    table().save(tmp_path / "scores.parquet")
    back = ScoreTable.load(tmp_path / "scores.parquet")
    assert (back.ids, back.about, list(back.columns)) == (table().ids, ABOUT, list(table().columns))
    for name, values in table().columns.items():
        np.testing.assert_array_equal(back.columns[name], values)
    assert list(back.group) == list(table().group)
    assert list(back.minutes) == list(table().minutes)
    assert list(back.num_notes) == list(table().num_notes)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]


def test_the_same_table_is_the_same_file(tmp_path):
    table().save(tmp_path / "one")
    ScoreTable.load(tmp_path / "one").save(tmp_path / "other")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_an_empty_table_comes_back_too(tmp_path):
    ScoreTable.of([], {"loss": []}).save(tmp_path / "scores.parquet")
    assert list(ScoreTable.load(tmp_path / "scores.parquet").columns) == ["loss", *RANDOM]


def test_pandas_and_duckdb_open_it(tmp_path):
    import duckdb

    path = tmp_path / "scores.parquet"
    table().save(path)
    frame = pd.read_parquet(path)
    assert list(frame.columns) == ["id", "group", "minutes", "num_notes", "el2n", "loss", *RANDOM]
    assert frame["loss"].tolist() == [1, 2, 3, 4]
    found = duckdb.execute(f"SELECT id FROM '{path}' ORDER BY el2n DESC").fetchall()
    assert found == [("c",), ("d",), ("a",), ("b",)]  # no score comes last


@pytest.mark.parametrize("num_bytes", [0, 3, 100, 5000, -40, -1])
def test_a_file_cut_short_is_one_clear_line(tmp_path, num_bytes):
    path = tmp_path / "scores.parquet"
    many().save(path)
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(DatasetCorrupt) as caught:
        ScoreTable.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_changed_byte_is_found_or_changes_nothing(tmp_path):
    path = tmp_path / "scores.parquet"
    many().save(path)
    num_unnoticed = 0
    for broken in _with_flipped_bytes(path.read_bytes()):
        path.write_bytes(broken)
        try:
            back = ScoreTable.load(path)
        except DatasetCorrupt:
            continue
        num_unnoticed += 1  # in what is not read back, the statistics for example
        np.testing.assert_array_equal(back.columns["loss"], many().columns["loss"])
        np.testing.assert_array_equal(back.columns["vog"], many().columns["vog"])
    assert num_unnoticed < 6  # of 38


def _with_flipped_bytes(whole: bytes) -> list[bytes]:
    places = [len(whole) * number // 40 for number in range(1, 39)]
    return [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in places]


def test_what_is_no_score_table_is_said_to_be_none(tmp_path):
    path = tmp_path / "other.parquet"
    pd.DataFrame({"id": ["a"]}).to_parquet(path)
    with pytest.raises(DatasetCorrupt, match="is no score table"):
        ScoreTable.load(path)
    with pytest.raises(DatasetNotFound, match="there is no score table"):
        ScoreTable.load(tmp_path / "none.parquet")


def test_rows_that_were_moved_under_other_ids_are_found(tmp_path):
    path = tmp_path / "scores.parquet"
    table().save(path)
    stored = pq.read_table(path)
    moved = stored.set_column(0, stored.schema.field("id"), [["b", "c", "d", "e"]])
    pq.write_table(moved, path)
    with pytest.raises(DatasetCorrupt, match="do not belong to its ids"):
        ScoreTable.load(path)


def test_a_newer_format_is_not_guessed_at(tmp_path):
    path = tmp_path / "scores.parquet"
    table().save(path)
    stored = pq.read_table(path)
    pq.write_table(stored.replace_schema_metadata({"aria_score_table": '{"format": 99, "about": {}}'}), path)
    with pytest.raises(DatasetCorrupt, match="newer version"):
        ScoreTable.load(path)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"ids": ["a", "a", "b", "c"]}, "more than once"),
        ({"columns": {"loss": [1.0, 2.0]}}, "columns of shape"),
        ({"columns": {"loss": [1.0, 2.0, 3.0, math.inf]}}, "finite or NaN"),
        ({"columns": {"minutes": [1.0, 2.0, 3.0, 4.0]}}, "cannot name a score"),
        ({"columns": {"Loss; --": [1.0, 2.0, 3.0, 4.0]}}, "cannot name a score"),
        ({"minutes": [1.0, 2.0, 3.0, -4.0]}, "not below 0"),
        ({"about": {"loss": math.nan}}, "JSON"),
    ],
)
def test_a_table_that_cannot_be_is_refused(more, said):
    with pytest.raises(ValueError, match=said):
        table(**more)


def test_scores_are_added_in_the_order_of_the_table():
    wider = table().with_columns({"vog": [1, 2, 3, 4]}, {"checkpoints": [10]})
    assert list(wider.columns["vog"]) == [1, 2, 3, 4]
    assert list(wider.columns["loss"]) == list(table().columns["loss"])
    assert wider.about == {**ABOUT, "checkpoints": [10]}


def test_rank_correlations_see_order_only_and_pass_over_what_has_no_score():
    found = many().rank_correlations()
    assert found["loss"]["el2n"] == pytest.approx(1)
    assert found["loss"]["vog"] == pytest.approx(-1)
    assert math.isnan(found["loss"]["constant"])
    assert table().rank_correlations()["loss"]["el2n"] == pytest.approx(0.5)  # of a, c, d: 1 2 3 against 1 3 2


def test_the_example_of_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ScoreTable.of(["youtube-abc_0", "b", "c", "d"], {"el2n": [0.3, 0.1, 0.4, 0.2]}).save(tmp_path / "scores.parquet")
    guide = (ROOT / "docs" / "pruning.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(guide.split("```python\n")[1].split("```")[0], names)
    assert names["selection"].ids == ("c",)


def test_one_table_serves_many_selections():
    made = many()
    hardest = select(made.pool("loss"), SelectConfig("top", Budget(files=10)))
    assert hardest.ids == select(made.pool("el2n"), SelectConfig("top", Budget(files=10))).ids
    assert not set(hardest.ids) & set(select(made.pool("vog"), SelectConfig("top", Budget(files=10))).ids)
    with pytest.raises(UsageError, match="'grand' is not in the table. It has constant, el2n"):
        made.pool("grand")
