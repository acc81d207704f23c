"""Where two transcribers disagree is said for every 5 s, and is a subset for review."""

from __future__ import annotations

import json
import math

import pytest
from fakes import FakeTranscriber, melody, write_audio

from aria_data.manifest import Manifest
from aria_data.measure.agreement import (
    agreement_per_bar,
    agreement_per_span,
    as_text,
    disagreements_of,
    lowest_agreement,
)
from aria_data.midi import Note, Performance
from aria_data.release.subsets import SubsetRecipe
from flows.define_subset import define_recipe
from flows.engine.context import BuildContext


def notes(*onsets: float, pitch: int = 60) -> Performance:
    return Performance([Note(onset, onset + 0.1, pitch, 64) for onset in onsets])


def test_each_span_has_the_f1_of_its_own_notes_and_the_worst_one_is_named():
    first = notes(*(0.5 * place for place in range(40)))
    second = notes(*(0.5 * place for place in range(40) if not 5.0 <= 0.5 * place < 7.5))
    assert agreement_per_span(first, second, 22.0) == pytest.approx([1.0, 2 / 3, 1.0, 1.0, math.nan], nan_ok=True)
    assert lowest_agreement(first, second, 22.0) == pytest.approx((2 / 3, 5.0))
    assert as_text([1.0, 2 / 3, math.nan]) == "[1.0, 0.667, null]"


def test_what_only_the_second_heard_counts_where_it_heard_it():
    first, second = notes(0.0, 1.0), notes(0.0, 1.0, 11.0)
    assert agreement_per_span(first, second, 15.0) == pytest.approx([1.0, math.nan, 0.0], nan_ok=True)
    assert all(map(math.isnan, lowest_agreement(first, second, 15.0)))  # too few notes to say so
    assert agreement_per_span(Performance(), Performance(), 4.0) == pytest.approx([math.nan], nan_ok=True)


def test_each_bar_has_the_f1_of_its_own_notes_and_a_downbeats_chord_is_whole():
    first = notes(*(0.5 * place for place in range(16)))
    second = notes(*(0.5 * place for place in range(16) if place not in (5, 6)), 7.7)
    said = disagreements_of(first, second)
    assert json.loads(said) == {"only_first": [2.5, 3.0], "only_second": [7.7]}
    downbeats = [0.02, 2.02, 4.02, 6.02]  # 20 ms after the first note of its chord
    f1s, lowest = agreement_per_bar(downbeats, [note.onset_s for note in first.notes], said)
    assert f1s == pytest.approx([1.0, 2 * 2 / (4 + 2), 1.0, 2 * 4 / (4 + 5)])
    assert lowest == 3  # the second bar is lower, but has six notes of both together
    assert agreement_per_bar([0.0, 9.0], [1.0], disagreements_of(notes(1.0), notes(1.0)))[0] == pytest.approx(
        [1.0, math.nan], nan_ok=True
    )
    assert agreement_per_bar([], [1.0], said) == ([], None)


class Deaf(FakeTranscriber):
    """Hears nothing of what lies above middle C."""

    def _notes(self, window):
        return [note for note in super()._notes(window) if note.pitch < 60]


def test_a_build_with_a_second_transcriber_has_a_set_of_where_they_disagree(build, tmp_path, monkeypatch):
    for seed in (1, 2):
        write_audio(tmp_path / "in" / f"piece {seed} piano.flac", melody(12, seed))
    monkeypatch.setattr(BuildContext, "second_transcriber", Deaf())
    monkeypatch.setattr(BuildContext, "second_sha256", "d" * 64)
    build(tmp_path / "in", tmp_path / "out")
    rows = Manifest(tmp_path / "out").rows()
    assert len(rows) == 2
    for row in rows:
        per_span = json.loads(row["agreement_per_5_s"])
        assert len(per_span) == math.ceil(row["duration_s"] / 5.0)
        assert row["lowest_agreement"] == pytest.approx(min(per_span[:2]), abs=1e-3)
        assert row["lowest_agreement_start_s"] == 5.0 * per_span.index(min(per_span[:2]))
        assert (
            len(json.loads(row["disagreements"])["only_first"])
            > 0
            == len(json.loads(row["disagreements"])["only_second"])
        )
    define_recipe(tmp_path / "out", "disagreements", SubsetRecipe(where="lowest_agreement < 0.9"))
    assert all(row["in_disagreements"] for row in Manifest(tmp_path / "out").rows())
