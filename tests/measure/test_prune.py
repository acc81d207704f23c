"""Limits decide, in a fixed order, and a wrong limit is reported in one line."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aria_data.errors import ConfigInvalid
from aria_data.measure import MEASURES, PruneLimits, load_limits
from aria_data.measure.measures import measure
from aria_data.measure.prune import LIMIT_KEYS, all_verdicts, is_passing, prune
from aria_data.midi import Note
from aria_data.records import Verdict


def music(num_notes: int = 600, duration_s: float = 120.0) -> dict[str, float]:
    """Measures of plain but varied music: 5 notes a second over three octaves."""
    step_s = duration_s / num_notes
    notes = [
        Note(i * step_s, i * step_s + 0.1 + (i * 7 % 23) / 20, 45 + (i * 11) % 36, 40 + i % 50)
        for i in range(num_notes)
    ]
    return measure(notes, [], duration_s)


@pytest.mark.parametrize("preset", ["light", "heavy"])
def test_plain_music_passes_both_presets(preset):
    assert prune(music(), load_limits(preset)) == Verdict(True)


def test_heavy_holds_every_published_number():
    assert load_limits("heavy").limits == {
        "min_num_notes": 8,
        "min_duration_s": 30, "max_duration_s": 7200, "min_note_density": 1.5, "max_note_density": 30,
        "max_densest_3_s": 60, "max_densest_5_s": 45, "max_densest_10_s": 40, "max_densest_45_s": 30,
        "max_densest_3_s_per_pitch": 15, "max_densest_5_s_per_pitch": 10, "max_densest_10_s_per_pitch": 8,
        "max_densest_45_s_per_pitch": 6, "min_note_length_entropy": 2.5, "min_pitch_entropy": 3.0,
        "min_num_unique_pitches": 12, "min_num_unique_pitches_in_30_s": 5, "min_num_unique_pitches_in_60_s": 8,
        "min_num_unique_pitches_in_120_s": 10, "max_longest_silence_s": 20, "min_mean_velocity": 20,
        "max_mean_velocity": 105, "min_chunk_divergence": 0.2,
    }  # fmt: skip


def test_whatever_light_rejects_heavy_rejects_too():
    light, heavy = load_limits("light").limits, load_limits("heavy").limits
    for key, limit in light.items():
        assert key in heavy
        assert limit <= heavy[key] if key.startswith("min_") else limit >= heavy[key]


def test_a_rejection_names_the_limit_and_the_number():
    assert prune(music() | {"note_density": 31.5}, load_limits("heavy")) == Verdict(
        False, "note_density_above_max", 31.5
    )
    assert prune(music() | {"pitch_entropy": 1.0}, load_limits("heavy")) == Verdict(
        False, "pitch_entropy_below_min", 1.0
    )


def test_too_few_notes_is_the_first_reason_whatever_the_limits():
    for limits in (PruneLimits(), load_limits("light"), load_limits("heavy")):
        assert prune(measure([], [], 60.0), limits) == Verdict(False, "too_few_notes", 0.0)


def test_the_order_of_reasons_is_that_of_the_keys_not_of_the_file():
    one = PruneLimits({"max_mean_velocity": 1, "max_note_density": 1})
    other = PruneLimits({"max_note_density": 1, "max_mean_velocity": 1})
    assert prune(music(), one) == prune(music(), other)
    assert prune(music(), one).reason == "note_density_above_max"


def test_a_measure_on_its_limit_is_kept():
    assert prune({"num_notes": 8}, PruneLimits()).is_kept
    assert not prune({"num_notes": 7}, PruneLimits()).is_kept


def test_no_limit_applies_to_an_undefined_measure():
    assert prune(music() | {"chunk_divergence": math.nan}, load_limits("heavy")).is_kept


def test_all_verdicts_say_what_each_limit_would_do_alone():
    verdicts = all_verdicts(music() | {"note_density": 40.0, "mean_velocity": 5.0}, load_limits("heavy"))
    assert [key for key, verdict in verdicts.items() if not verdict.is_kept] == [
        "max_note_density",
        "min_mean_velocity",
    ]
    assert list(verdicts) == [key for key in LIMIT_KEYS if key in load_limits("heavy").limits]


def test_every_measure_has_a_minimum_and_a_maximum():
    assert len(LIMIT_KEYS) == 2 * len(MEASURES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_note_densty = 3", "max_note_densty"),
        ("note_density = 3", "note_density"),
        ("max_note_density = 'much'", "finite number"),
        ("max_note_density = true", "finite number"),
        ("max_note_density = nan", "finite number"),
        ("min_note_density = 5\nmax_note_density = 3", "nothing could pass"),
        ("max_note_density = ", "valid TOML"),
    ],
)
def test_a_wrong_limits_file_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(ConfigInvalid, match=message) as caught:
        load_limits(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(ConfigInvalid, match="neither a preset"):
        load_limits("haevy")


def test_a_limit_on_what_was_not_measured_is_refused():
    with pytest.raises(ConfigInvalid, match="was not measured"):
        prune({"num_notes": 100.0}, PruneLimits({"max_note_density": 30}))


@given(
    st.lists(st.fixed_dictionaries({name: st.floats() for name in ("num_notes", "note_density")}), min_size=1),
    st.fixed_dictionaries({}, optional={"min_num_notes": st.floats(0, 99), "max_note_density": st.floats(0, 99)}),
)
def test_many_measures_at_once_are_judged_as_one_by_one(measures, values):
    limits = PruneLimits(values)
    column = pa.array([list(each.items()) for each in measures], pa.map_(pa.string(), pa.float64()))
    assert is_passing(column, limits).to_pylist() == [prune(each, limits).is_kept for each in measures]


def test_a_measure_that_one_of_many_lacks_is_one_line():
    column = pa.array([[("num_notes", 9.0)]], pa.map_(pa.string(), pa.float64()))
    with pytest.raises(ConfigInvalid, match="max_note_density limits note_density, which was not measured"):
        is_passing(column, PruneLimits({"max_note_density": 3.0}))
