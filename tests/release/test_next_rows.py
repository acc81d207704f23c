"""The rows that relations give are those that Python values gave, whatever is new, old, removed or shared."""

from __future__ import annotations

import math

import rows_before
from fakes import manifest_row
from hypothesis import given, settings
from hypothesis import strategies as st

from aria_data.manifest.digests import content_sha256
from aria_data.measure import MEASURES
from aria_data.records import (
    Annotation,
    AudioCluster,
    Candidate,
    Measurement,
    Recording,
    Screening,
    Segment,
    Transcription,
)
from aria_data.release import ReleaseConfig
from aria_data.release.rows_of_segments import FinishedSegment, build_rows
from aria_data.release.splits import STRICTNESS
from aria_data.release.tombstones import tombstone

COMPOSITIONS = (
    "",
    "beethoven:op27-2",
    "beethoven:op27-2:3",
    "chopin:op10",
    "chopin:op10-3",
    "bach:bwv847",
    "bach:bwv846-869",
)
names = st.sampled_from("abcdefgh")
numbers = st.floats(-40, 4000) | st.just(math.nan) | st.sampled_from([0.1234565, 2.5e-7, 1e-6 / 3, -20.0])
texts = st.sampled_from(["", "x", "Für Elise", 'a "quoted" \\ one', "nul \0 \n line", "日本", "\U0001f3b9"])


@st.composite
def segments(draw) -> FinishedSegment:
    name, number = draw(names), draw(st.integers(0, 2))
    start_s, length_s = draw(st.floats(0, 1e4)), draw(st.floats(0.001, 2000))
    segment = Segment(name, number, start_s, start_s + length_s, draw(st.floats(0, 1)))
    measures = dict.fromkeys(MEASURES, 1.0) | draw(st.dictionaries(st.sampled_from(MEASURES), numbers, max_size=6))
    measures |= {"num_endless_notes": float(draw(st.integers(0, 9)))}
    passes = draw(st.booleans()), draw(st.booleans())
    return FinishedSegment(
        candidate=Candidate(f"c-{name}", "local", "", draw(names), "", licence=draw(texts), uploader=draw(texts)),
        screening=Screening(f"c-{name}", draw(st.integers(1, 5)), "rules", ""),
        recording=Recording(name, f"c-{name}", "", f"a-{name}", f"s-{name}", 10.0, 16_000, 1, "flac", -20, -3),
        classifier_sha256="c",
        segment=segment,
        transcription=Transcription(segment.segment_id, name, f"midi/{name}.mid", "m", "fake", "f", 20, 0, 0.9, 0),
        measurement=Measurement(segment.segment_id, measures),
        annotation=Annotation(composition_id=draw(st.sampled_from(COMPOSITIONS)), title=draw(texts)),
        audio_cluster=f"audio-{draw(names)}",
        recording_cluster=AudioCluster(f"recording-{draw(names)}", draw(st.booleans())),
        notes_cluster=AudioCluster(f"notes-{draw(names)}{draw(names)}", draw(st.booleans())),
        passes_pruned=passes[0],
        passes_deduplicated=passes[1],
        excluded_by=draw(st.sampled_from(["", "", "", "", "maestro: composition x", "asap: notes of y"])),
    )


@st.composite
def rows(draw, recordings: str) -> dict:
    clusters = {name: draw(names) for name in ("audio_cluster", "recording_cluster", "notes_cluster")}
    return manifest_row(
        f"{draw(st.sampled_from(recordings))}_{draw(st.integers(0, 2))}",
        source_url=draw(names),
        composition_id=draw(st.sampled_from(COMPOSITIONS)),
        first_version=draw(st.integers(1, 3)),
        excluded_by=draw(st.sampled_from(["", "", "maestro: composition z"])),
        split=draw(st.sampled_from(STRICTNESS)),
        **clusters,
    )


def by_id(found: list[dict]) -> list[dict]:
    return list({row["segment_id"]: row for row in found}.values())


@st.composite
def worlds(draw) -> dict:
    """What a build knows at its end. Carried rows are of recordings that have nothing new."""
    finished = list({one.segment.segment_id: one for one in draw(st.lists(segments(), max_size=12))}.values())
    previous = by_id(draw(st.lists(rows("abcdefghij"), max_size=10)))
    is_removed = draw(st.lists(st.booleans(), min_size=len(previous), max_size=len(previous)))
    previous = [tombstone(row, 2, "asked") if gone else row for row, gone in zip(previous, is_removed, strict=True)]
    labels = [f"recording_id={name}" for name in "abij"] + [f"audio_cluster={name}" for name in ("audio-a", "b")]
    labels += [f"composition_id={name}" for name in (*COMPOSITIONS[1:], "chopin:op10-4", "bach:bwv850")]
    cap, validation_share = draw(st.integers(0, 2)), draw(st.floats(0, 0.4))
    named = st.sampled_from(["a_0", "i_1", "b", "j", "c", "h"])
    return {
        "finished": finished,
        "config": ReleaseConfig(max_recordings_per_composition=cap, test_share=0.3, validation_share=validation_share),
        "previous": previous,
        "next_version": 4,
        "removals": draw(st.dictionaries(named, st.just("why"), max_size=3)),
        "carried": by_id(draw(st.lists(rows("klm"), max_size=4))),
        "given_splits": draw(st.dictionaries(st.sampled_from(labels), st.sampled_from(STRICTNESS), max_size=5)),
    }


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_relations_give_the_rows_that_python_values_gave(world):
    expected = rows_before.build_rows(**world)
    found = build_rows(**world)
    assert found == expected
    assert content_sha256(found) == content_sha256(expected)
