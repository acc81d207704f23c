"""What a segment's page knows besides its row: neighbours among the changes, quotes of tags, bars, meanings, parts of
its picture; and the queue of segments to review."""

from __future__ import annotations

import io
import json
import re
import threading

import numpy as np
import pytest
from browsing import Visitor
from datasets_made import make_rows, row_with_midi, song
from fakes import write_audio

from aria_data.align.alignment_files import DETAILS
from aria_data.manifest import Manifest
from aria_data.manifest.columns import columns
from aria_data.measure.measures import MEASURES
from aria_data.records import SegmentAlignment
from aria_data.storage.stage_tables import RecordTable
from flows.browse.facts import meanings
from flows.browse.remembered import Remembered
from flows.browse.spectrogram import spectrogram_png


def links(page: str) -> dict[str, str]:
    """Where the links with a `rel` lead: the id of the segment."""
    return dict(re.findall(r'<a rel="(prev|next)" href="/segment\?id=([^&"]+)', page))


@pytest.mark.parametrize("is_large", [False, True])
def test_the_changes_of_a_version_are_listed_and_each_has_its_neighbours(tmp_path, monkeypatch, is_large):
    """Of a large version the kinds are found by SQL, without reasons."""
    if is_large:
        monkeypatch.setattr("flows.browse.facts.MAX_REASONED", 2)
    manifest, rows = Manifest(tmp_path), make_rows(tmp_path, 6)
    manifest.commit(rows)
    changed = [row | {"composer": "Clara Schumann"} if number in (1, 4) else row for number, row in enumerate(rows)]
    manifest.commit([*changed[:5], row_with_midi(tmp_path, "web-9_0", song(9))])  # the last row is gone
    with Visitor(tmp_path) as visitor:
        page = visitor.get("/changes").text
        assert "<h1>4 segments changed since version 1" in page
        assert re.findall(r"<li>(\w+) ([^:]*): (\d+)", page) == (
            [("changed", "", "2"), ("added", "", "1"), ("removed", "", "1")]
            if is_large
            else [
                ("changed", "other tags", "2"),
                ("added", "a new recording", "1"),
                ("removed", "no longer found in its recording", "1"),
            ]
        )
        listed = re.findall(r'<th scope="row">(?:<a href="[^"]*">)?([^<]+)', page)
        assert listed == ["local-0001_0", "local-0004_0", "local-0005_0", "web-9_0"]
        assert "id=local-0005_0" not in page  # what was removed has no page
        first, middle, last = (
            links(visitor.get(f"/segment?via=changes&id={name}").text)
            for name in ("local-0001_0", "local-0004_0", "web-9_0")
        )
        assert first == {"next": "local-0004_0"}
        assert middle == {"prev": "local-0001_0", "next": "web-9_0"}
        assert last == {"prev": "local-0004_0"}
        for name, words in (
            ("local-0001_0", r"composer</th><td>[^<]*</td><td>Clara Schumann"),
            ("local-0000_0", "Nothing changed."),
            ("web-9_0", "It is new."),
        ):
            assert re.search(words, visitor.get(f"/segment?id={name}").text), name


def test_a_tag_stands_beside_the_words_it_was_read_from(built):
    row = next(row for row in Manifest(built).rows() if "Nocturne" in row["title"])
    with Visitor(built) as visitor:
        page = visitor.get("/segment", params={"id": row["segment_id"]}).text
    quotes = dict(re.findall(r'<th scope="row">(\w+)</th><td>[^<]*</td><td><q>([^<]+)</q>', page))
    assert "Chopin" in quotes["composer"]
    assert "Op. 9" in quotes["catalogue_number"]
    assert "Nocturne" in quotes["form"]


def queue_of(visitor: Visitor, count: int, **query: str) -> list[str]:
    """The segments that a person gets who reviews `count` of a queue, one after the other."""
    place, seen = visitor.get("/next", params=query), []
    for _ in range(count):
        segment_id = place.url.params["id"]
        seen.append(segment_id)
        queue = re.search(r'name="queue" value="([^"]*)"', place.text)
        data = {"id": segment_id, "verdict": "good", "then": "next"}
        place = visitor.post(data | ({"queue": queue[1].replace("&amp;", "&")} if queue else {}))
    return seen


def test_a_seed_gives_an_order_of_its_own_that_is_the_same_again_and_stays_within_the_filter(tmp_path):
    orders = []
    for number, seed in enumerate(("7", "7", "8")):
        root = tmp_path / str(number)
        Manifest(root).commit(make_rows(root, 8))
        with Visitor(root) as visitor:
            orders.append(queue_of(visitor, 4, seed=seed, where="num_notes <= 6"))
            assert visitor.get("/next", params={"seed": seed, "where": "num_notes > 99"}).status_code == 404
    assert orders[0] == orders[1] != orders[2]
    allowed = {row["segment_id"] for row in make_rows(tmp_path / "0", 8) if row["num_notes"] <= 6}
    for order in orders:
        assert len(set(order)) == 4
        assert set(order) <= allowed


def align_first_of(root, details_path: str) -> str:
    """Say of the first row that it is aligned, with a file of two bars at `details_path`, and of the others nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = Manifest(root).rows()[0]
    values = dict.fromkeys(SegmentAlignment.__dataclass_fields__) | {
        "segment_id": row["segment_id"], "midi_sha256": row["midi_sha256"], "reason": "", "score_id": "a.musicxml",
        "score_sha256": "0" * 64, "proposed_composition": "", "evidence": "", "beats_path": "",
        "details_path": details_path,
    }  # fmt: skip
    RecordTable(root, "alignments", SegmentAlignment).replace([SegmentAlignment(**values)])
    beats = [(0.5, 12, True), (1.0, 12, False), (1.5, 13, True)]
    rows = [{"kind": "beat", "time_s": at, "bar": bar, "is_downbeat": is_down} for at, bar, is_down in beats]
    rows.append({"kind": "matched", "time_s": 0.7, "bar": 12, "pitch": 60})
    path = root / "alignments" / "first.parquet"
    path.parent.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=DETAILS), path)
    return row["segment_id"]


def test_the_bars_of_an_aligned_segment_are_drawn_and_of_another_none(tmp_path):
    Manifest(tmp_path).commit(make_rows(tmp_path, 2))
    with Visitor(tmp_path) as visitor:
        assert visitor.get("/notes.json?id=local-0000_0").json()["bars"] == []
    segment_id = align_first_of(tmp_path, "alignments/first.parquet")
    with Visitor(tmp_path) as visitor:
        assert visitor.get(f"/notes.json?id={segment_id}").json()["bars"] == [[0.5, 12], [1.5, 13]]
        assert visitor.get("/notes.json?id=local-0001_0").json()["bars"] == []


@pytest.mark.parametrize(
    "path", ["../alignments/first.parquet", "/etc/passwd", "alignments/none.parquet", "", "tables"]
)
def test_an_alignment_whose_file_is_elsewhere_or_away_draws_no_bars(tmp_path, path):
    root = tmp_path / "dataset"
    Manifest(root).commit(make_rows(root, 1))
    segment_id = align_first_of(root, path)
    with Visitor(root) as visitor:
        answer = visitor.get(f"/notes.json?id={segment_id}")
    assert answer.status_code == 200
    assert json.loads(answer.text)["bars"] == []


def test_every_column_and_measure_has_a_meaning_that_the_page_shows(built):
    found = meanings()
    assert not [name for name in (*MEASURES, *(column["name"] for column in columns())) if not found.get(name)]
    with Visitor(built) as visitor:
        page = visitor.get("/segment", params={"id": Manifest(built).rows()[0]["segment_id"]}).text
    assert "share of notes whose pitch class sounds in the recording" in page
    assert "mean velocity of all notes, 1 to 127" in page


@pytest.mark.parametrize("suffix", ["flac", "wav", "ogg", "mp3"])
def test_a_part_late_in_a_file_is_drawn_as_it_sounds_there(tmp_path, suffix):
    from matplotlib.image import imread

    times_s = np.arange(8000 * 60) / 8000
    low, high = (np.sin(2 * np.pi * hertz * times_s) for hertz in (220, 880))
    path = write_audio(tmp_path / f"a.{suffix}", (np.where(times_s < 45, low, high) * 0.5)[:, None], 8000)
    content = spectrogram_png(tmp_path, f"file://{path}", 40.0, 50.0)
    loudest = 108 - imread(io.BytesIO(content))[:, :, :3].sum(axis=2).argmax(axis=0) / 2
    assert loudest[100:700] == pytest.approx(57, abs=2)  # A3, to the middle of the picture
    assert loudest[900:1500] == pytest.approx(81, abs=2)  # A5


def test_an_address_chooses_a_part_of_the_picture_and_nothing_outside_the_segment(built):
    row = Manifest(built).rows()[0]
    query = {"id": row["segment_id"]}
    with Visitor(built) as visitor:
        whole = visitor.get("/spectrogram.png", params=query).content
        part = visitor.get("/spectrogram.png", params=query | {"from": "2", "to": "4"}).content
        odd = [("-5", "1e9"), ("nan", "inf"), ("x", ""), ("", "1e400")]
        same = [visitor.get("/spectrogram.png", params=query | {"from": a, "to": b}) for a, b in odd]
        beyond = visitor.get("/spectrogram.png", params=query | {"from": "1e12", "to": "3"})
    assert part != whole
    assert {answer.content for answer in same} == {whole}
    assert beyond.status_code == 200


def test_what_many_ask_for_at_once_is_found_once_and_a_failure_is_not_kept():
    kept: Remembered[int] = Remembered(2)
    begun, may_end, found = threading.Event(), threading.Event(), []

    def slow() -> int:
        found.append(1)
        begun.set()
        may_end.wait(30)
        return 7

    askers = [threading.Thread(target=lambda: found.append(kept.get("a", slow))) for _ in range(5)]
    for asker in askers:
        asker.start()
    assert begun.wait(30)
    may_end.set()
    for asker in askers:
        asker.join(30)
    assert sorted(found) == [1, 7, 7, 7, 7, 7]
    with pytest.raises(ZeroDivisionError):
        kept.get("b", lambda: 1 // 0)
    assert kept.get("b", lambda: 3) == 3
    kept.get("c", lambda: 4)
    assert kept.get("a", lambda: 8) == 8  # only the last two are kept
