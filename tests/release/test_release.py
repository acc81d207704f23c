"""Rows say what the stages found; subsets contain each other; splits never leak and never move."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aria_data.deduplicate.clusters import AudioCluster
from aria_data.manifest.manifest import columns
from aria_data.manifest.rows import table_of
from aria_data.measure import MEASURES
from aria_data.measure.measures import measure
from aria_data.midi import Note
from aria_data.records import Annotation, Candidate, Measurement, Recording, Screening, Segment, Transcription
from aria_data.release import ReleaseConfig
from aria_data.release.rows_of_segments import FinishedSegment, build_rows
from aria_data.release.splits import split_of
from aria_data.release.tombstones import tombstone, tombstones_of

CONFIG = ReleaseConfig()
NOTES = [Note(i / 2, i / 2 + 0.25, 60 + i, 64) for i in range(20)]

MEASURED = dict.fromkeys(MEASURES, math.nan) | measure(NOTES, [], 10.0) | {"num_endless_notes": 0.0}


def finished(
    name: str,
    number: int = 0,
    *,
    composition_id: str = "",
    cluster: str = "",
    is_lead: bool = True,
    notes: str = "",
    is_copy: bool = False,
    excluded_by: str = "",
    score: float = 0.9,
    passes: tuple[bool, bool] = (True, True),
) -> FinishedSegment:
    segment = Segment(name, number, 0.0, 10.0, score)
    return FinishedSegment(
        candidate=Candidate(f"c-{name}", "local", f"file:///{name}", f"{name}.wav", name, licence="CC0", uploader="U"),
        screening=Screening(f"c-{name}", 4, "rules", ""),
        recording=Recording(name, f"c-{name}", "", f"a-{name}", f"s-{name}", 10.0, 16_000, 1, "flac", -20, -3),
        classifier_sha256="c",
        segment=segment,
        transcription=Transcription(
            segment.segment_id, name, f"midi/{name}.mid", f"m-{name}", "fake", "f", 20, 0, 0.9, 0
        ),
        measurement=Measurement(segment.segment_id, MEASURED),
        annotation=Annotation(composition_id=composition_id, title=name),
        audio_cluster=f"audio-{name}",
        recording_cluster=AudioCluster(cluster or f"recording-{name}", is_lead),
        notes_cluster=AudioCluster(notes or f"notes-{name}-{number}", not is_copy),
        passes_pruned=passes[0],
        passes_deduplicated=passes[1],
        excluded_by=excluded_by,
    )


def rows_by_id(found, previous=(), version=1):
    return {row["segment_id"]: row for row in build_rows(found, CONFIG, previous, version)}


def test_a_row_holds_every_column_in_order_with_the_values_of_the_stages():
    (row,) = build_rows([finished("r", composition_id="chopin:op9-2")], CONFIG, [], 7)
    assert list(row) == [column["name"] for column in columns()]
    expected = {
        "segment_id": "r_0",
        "duration_s": 10.0,
        "num_notes": 20,
        "note_density": 2.0,
        "licence": "CC0",
        "uploader": "U",
        "source_url": "r.wav",
        "relevance_score": 4,
        "composition_id": "chopin:op9-2",
        "midi_sha256": "m-r",
        "audio_cluster": "audio-r",
        "recording_cluster": "recording-r",
        "notes_cluster": "notes-r-0",
        "first_version": 7,
        "removed_in": None,
    }
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("one", "subsets"),
    [
        (finished("r", composition_id="x"), (True, True, True)),
        (finished("r"), (True, True, False)),
        (finished("r", composition_id="x", passes=(True, False)), (True, False, False)),
        (finished("r", composition_id="x", passes=(False, False)), (False, False, False)),
        (finished("r", composition_id="x", passes=(False, True)), (False, False, False)),
        (finished("r", composition_id="x", is_lead=False), (True, False, False)),
        (finished("r", composition_id="x", is_copy=True), (True, False, False)),
    ],
)
def test_each_subset_is_inside_the_one_before(one, subsets):
    (row,) = build_rows([one], CONFIG, [], 1)
    assert (row["in_pruned"], row["in_deduplicated"], row["in_unique"]) == subsets


def test_of_one_composition_the_surest_recording_that_may_count_is_kept_with_all_its_segments():
    found = [
        finished("a", composition_id="x", score=0.8),
        finished("b", composition_id="x", score=0.95),
        finished("b", 1, composition_id="x", score=0.7),
        finished("c", composition_id="x", score=0.99, passes=(True, False)),
        finished("d", composition_id="x", score=0.98, is_lead=False),
        finished("e", score=0.5),
    ]
    rows = rows_by_id(found)
    assert [key for key, row in rows.items() if row["in_deduplicated"]] == ["b_0", "b_1", "e_0"]
    assert [key for key, row in rows.items() if row["in_unique"]] == ["b_0", "b_1"]
    assert rows_by_id(found[::-1]) == rows


def test_as_many_recordings_of_a_composition_are_kept_as_were_asked_for():
    found = [finished(f"r{n}", composition_id="x", score=0.9 + n / 100) for n in range(5)]
    for cap, kept in ((1, ["r4"]), (3, ["r2", "r3", "r4"]), (0, [f"r{n}" for n in range(5)])):
        rows = build_rows(found, ReleaseConfig(max_recordings_per_composition=cap), [], 1)
        assert [row["recording_id"] for row in rows if row["in_deduplicated"]] == kept


def splits_of(rows, name: str) -> dict[str, set[str]]:
    splits: dict[str, set[str]] = {}
    for row in rows.values():
        if row[name]:
            splits.setdefault(row[name], set()).add(row["split"])
    return splits


def test_what_shares_a_composition_or_any_cluster_never_lies_in_two_splits():
    found = [finished(f"r{n}", composition_id=f"x{n % 40}") for n in range(200)]
    found += [finished(f"copy{n}", cluster=f"recording-r{n}", is_lead=False, composition_id="other") for n in range(5)]
    found += [finished(f"excerpt{n}", notes=f"notes-r{n + 50}-0", is_copy=True) for n in range(50)]
    found += [finished(f"long{n}", number) for n in range(50) for number in range(3)]
    rows = rows_by_id(found)
    for name in ("recording_id", "recording_cluster", "notes_cluster", "composition_id"):
        assert {len(splits) for splits in splits_of(rows, name).values()} == {1}, name
    assert {row["split"] for row in rows.values()} == {"train", "validation", "test"}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("xyz "), st.sampled_from("mnopq")), max_size=12))
def test_a_chain_of_common_labels_lies_in_one_split_whatever_it_is_made_of(chosen):
    found = [
        finished(f"r{n}-{recording}", composition_id=composition.strip(), notes=f"notes-{notes}")
        for n, (recording, composition, notes) in enumerate(chosen)
    ]
    rows = build_rows(found, CONFIG, [], 1)
    for name in ("notes_cluster", "composition_id"):
        assert all(len(splits) == 1 for splits in splits_of({row["segment_id"]: row for row in rows}, name).values())


def test_a_whole_work_and_its_movements_share_a_split():
    works = {"beethoven:op27-2": ("", ":1", ":3"), "schumann:op15": ("", "-1", "-7"), "chopin:op10": ("", "-3", "-12")}
    for work, parts in works.items():
        found = [finished(part or "whole", composition_id=work + part) for part in parts]
        others = [finished(f"other-{i}", composition_id=f"other:op{i}") for i in range(20)]
        splits = {row["composition_id"]: row["split"] for row in build_rows(found + others, CONFIG, [], 1)}
        assert len({splits[work + part] for part in parts}) == 1
        assert len(set(splits.values())) > 1


def test_a_copy_that_comes_later_does_not_move_what_was_there():
    first = [finished(f"r{n}") for n in range(100)]
    before = rows_by_id(first)
    later = [finished(f"a{n}", notes=f"notes-r{n}-0", is_copy=True) for n in range(100)]  # their ids sort first
    after = rows_by_id(first + later, before.values(), 2)
    assert all(after[key]["split"] == row["split"] for key, row in before.items())
    assert all(after[f"a{n}_0"]["split"] == after[f"r{n}_0"]["split"] for n in range(100))


def test_what_is_excluded_is_in_no_split_nor_is_what_belongs_to_it():
    found = [
        finished("a", composition_id="x", excluded_by="maestro: composition x"),
        finished("b", composition_id="x"),
        finished("c", notes="notes-b-0", is_copy=True),
        finished("d", composition_id="y"),
    ]
    rows = rows_by_id(found)
    assert [rows[key]["split"] for key in ("a_0", "b_0", "c_0")] == ["excluded"] * 3
    assert rows["d_0"]["split"] in ("train", "validation", "test")
    assert rows["a_0"]["excluded_by"] == "maestro: composition x"
    assert rows["c_0"]["excluded_by"] == "together with what is excluded by maestro: composition x"
    assert rows["d_0"]["excluded_by"] == ""
    assert [rows[key]["in_deduplicated"] for key in ("a_0", "b_0", "c_0", "d_0")] == [False, False, False, True]
    assert not any(rows[key]["in_unique"] for key in ("a_0", "b_0", "c_0"))
    assert rows["a_0"]["in_pruned"]  # its quality is what it was


def test_splits_have_the_shares_that_were_asked_for_and_never_move():
    counts = Counter(split_of(f"group {n}", 0.1, 0.1) for n in range(5000))
    assert counts["test"] / 5000 == pytest.approx(0.1, abs=0.015)
    assert counts["validation"] / 5000 == pytest.approx(0.1, abs=0.015)
    assert split_of("chopin:op9-2", 0.1, 0.1) == "train"  # for ever: whoever trains relies on it
    assert split_of("x", 1.0, 0.0) == "test"
    assert split_of("x", 0.0, 0.0) == "train"


def removed(rows: list[dict], reasons: dict[str, str], version: int) -> list[dict]:
    """The rows after a removal: tombstones in the place of those that `reasons` names."""
    stones = {row["segment_id"]: row for row in tombstones_of(table_of(rows), reasons, version).to_pylist()}
    return [stones.get(row["segment_id"], row) for row in rows]


def test_a_row_keeps_its_first_version_and_a_new_one_gets_the_next():
    first = build_rows([finished("a")], CONFIG, [], 1)
    second = rows_by_id([finished("a"), finished("b")], first, 2)
    assert [row["first_version"] for row in second.values()] == [1, 2]


def test_what_is_found_no_more_is_gone_and_tombstones_are_carried_on():
    first = build_rows([finished("a"), finished("b"), finished("c")], CONFIG, [], 1)
    second = removed(first, {"b_0": "takedown"}, 2)
    assert [row["segment_id"] for row in second if row["removed_in"]] == ["b_0"]
    third = rows_by_id([finished("a")], second, 3)
    assert list(third) == ["a_0", "b_0"]
    assert third["b_0"] == tombstone(first[1], 2, "takedown")


def test_a_row_becomes_a_tombstone_once():
    rows = build_rows([finished("a"), finished("a", 1), finished("b"), finished("c")], CONFIG, [], 1)
    kept = removed(rows, {"a_1": "x", "b_0": "y"}, 2)
    assert [(row["removed_in"], row["removal_reason"]) for row in kept] == [
        (None, None),
        (2, "x"),
        (2, "y"),
        (None, None),
    ]
    assert tombstones_of(table_of(kept), {"a_1": "z"}, 3).num_rows == 0


def test_the_order_of_the_segments_changes_nothing():
    found = [finished(f"r{n}", composition_id=f"x{n % 3}", score=0.9) for n in range(12)]
    assert build_rows(found, CONFIG, [], 1) == build_rows(found[::-1], CONFIG, [], 1)


def test_a_title_stays_as_it_was_read():
    one = finished("r")
    (row,) = build_rows([replace(one, annotation=Annotation(title="Für Elise"))], CONFIG, [], 1)
    assert row["title"] == "Für Elise"


def test_edges_inside_the_music_are_flagged_and_what_is_not_defined_is_empty():
    one = finished("a")
    values = MEASURED | {"start_level_db": -3.0, "end_level_db": -45.0, "chroma_agreement": 0.5}
    row = build_rows([replace(one, measurement=replace(one.measurement, measures=values))], CONFIG, [], 1)[0]
    assert (row["is_start_truncated"], row["is_end_truncated"], row["chroma_agreement"]) == (True, False, 0.5)
    assert row["backend_agreement"] is None
