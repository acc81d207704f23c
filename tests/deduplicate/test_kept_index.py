"""An index kept between builds says the same as one made at once, reads only what is new, and forgets what has gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aria_data.deduplicate import KeptIndex, Notes


def notes(seed: int, tempo: float = 1.0) -> Notes:
    rng = np.random.default_rng(seed)
    return Notes.of(np.cumsum(rng.uniform(0.05, 0.4, 200)) * tempo, rng.integers(30, 90, 200))


WORLD = {"a": notes(1), "b": notes(2), "c": notes(1, 1.02), "d": notes(2, 0.99), "e": notes(3)}


class Reader:
    """Gives the notes of the world and remembers what it was asked for."""

    def __init__(self):
        self.asked: list[str] = []

    def __call__(self, contents: pa.Array) -> Iterator[tuple[str, Notes | None]]:
        for content in contents.to_pylist():
            self.asked.append(content)
            yield content, WORLD.get(content)


def updated(folder: Path, wanted: str) -> tuple[KeptIndex, Reader]:
    index, reader = KeptIndex(folder), Reader()
    index.update(pa.array(list(wanted)), reader)
    return index, reader


def test_pairs_do_not_depend_on_how_the_index_came_about(tmp_path):
    at_once, _ = updated(tmp_path / "one", "abcde")
    for wanted in ("e", "de", "acde", "abcde"):
        in_steps, _ = updated(tmp_path / "other", wanted)
    assert at_once.pairs() == in_steps.pairs() == [("a", "c"), ("b", "d")]
    assert at_once.compare("a", "c")
    assert not at_once.compare("a", "b")


def test_only_what_is_new_is_read(tmp_path):
    updated(tmp_path, "ab")
    index, reader = updated(tmp_path, "abc")
    assert reader.asked == ["c"]
    assert index.pairs() == [("a", "c")]
    assert updated(tmp_path, "abc")[1].asked == []


def test_pairs_are_looked_for_only_when_something_changed(tmp_path, monkeypatch):
    index, _ = updated(tmp_path, "abc")
    found = index.pairs()
    again, _ = updated(tmp_path, "abc")
    monkeypatch.setattr(again._index, "matches", lambda: pytest.fail("looked for again"))
    assert again.pairs() == found


def test_what_is_no_longer_wanted_leaves_nothing_behind(tmp_path):
    updated(tmp_path, "abcde")
    index, _ = updated(tmp_path, "abc")
    assert index.pairs() == [("a", "c")]
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert WORLD["e"].onset_ms[-20:].tobytes() not in files


@pytest.mark.parametrize("damage", [b"", b"rubbish", b'{"key": 1}'])
def test_a_damaged_file_is_made_again(tmp_path, damage):
    expected = updated(tmp_path, "abc")[0].pairs()
    for name in ("pairs.json", "part-00000.arrow"):
        (tmp_path / name).write_bytes(damage)
        assert updated(tmp_path, "abc")[0].pairs() == expected


def test_other_settings_start_anew(tmp_path):
    from dataclasses import replace

    config = replace(KeptIndex(tmp_path).config, keep_one_in=2)
    updated(tmp_path, "abc")
    index, reader = KeptIndex(tmp_path, config), Reader()
    assert index.num_new(pa.array(["a", "b", "c"])) == 3
    index.update(pa.array(["a", "b", "c"]), reader)
    assert sorted(reader.asked) == ["a", "b", "c"]


def test_what_cannot_be_read_is_left_out(tmp_path):
    index, _ = updated(tmp_path, "acx")
    assert index.pairs() == [("a", "c")]
