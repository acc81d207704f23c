"""Copies of a performance are found by their notes, however they were changed; other performances are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aria_data.deduplicate import NoteIndex, note_index
from aria_data.deduplicate.note_matching import compare, is_same
from aria_data.deduplicate.note_patterns import NoteIndexConfig, Notes, find_patterns
from aria_data.errors import DatasetCorrupt

CONFIG = NoteIndexConfig()


def score(seed: int, num_chords: int = 220) -> list[tuple[float, list[int]]]:
    """Give (beats, pitches) of chords of one to three notes: enough like music, as its lengths and pitches vary."""
    rng = np.random.default_rng(seed)
    beats = np.cumsum(rng.choice([0.25, 0.5, 1.0], num_chords, p=[0.4, 0.4, 0.2]))
    return [(beat, list(rng.choice(np.arange(40, 88), rng.integers(1, 4), replace=False))) for beat in beats]


def played(seed: int, performer: int, num_chords: int = 220) -> tuple[np.ndarray, np.ndarray]:
    """Play a score with rubato and an unsteady hand, as (onsets in seconds, pitches)."""
    rng = np.random.default_rng([seed, performer])
    notes = [(beat, pitch) for beat, pitches in score(seed, num_chords) for pitch in pitches]
    beats, pitches = np.array([each[0] for each in notes]), np.array([each[1] for each in notes])
    walk = np.cumsum(rng.normal(0, 0.01, int(beats[-1]) + 2))
    onsets = 0.6 * (beats + np.interp(beats, np.arange(len(walk)), walk)) + rng.normal(0, 0.008, len(beats))
    return np.maximum(onsets - onsets.min(), 0), pitches


ONSETS, PITCHES = played(1, 1)
ORIGINAL = Notes.of(ONSETS, PITCHES)


def transcribed_again(seed: int, missed: float = 0.06, jitter_s: float = 0.012) -> Notes:
    rng = np.random.default_rng(seed)
    is_kept = rng.random(len(ONSETS)) >= missed
    extra = rng.random(len(ONSETS)) < missed
    onsets = np.concatenate([ONSETS[is_kept], ONSETS[extra]]) + 0.02
    onsets = onsets + rng.normal(0, jitter_s, len(onsets))
    return Notes.of(np.maximum(onsets, 0), np.concatenate([PITCHES[is_kept], PITCHES[extra] + 12]))


COPIES = {
    "as it is": ORIGINAL,
    "quantised": Notes.of(np.round(ONSETS * 50) / 50, PITCHES),
    "trimmed": Notes.of(ONSETS[60:-60] - ONSETS[60], PITCHES[60:-60]),
    "shifted": Notes.of(ONSETS + 17.3, PITCHES),
    "faster": Notes.of(ONSETS * 0.97, PITCHES),
    "slower": Notes.of(ONSETS * 1.03, PITCHES),
    "changed": transcribed_again(3, missed=0.025, jitter_s=0),
    "transcribed again": transcribed_again(4),
    "all of it": Notes.of(transcribed_again(5).onset_ms[50:] / 1000 * 1.03 + 4, transcribed_again(5).pitch[50:]),
}
OTHERS = {
    "transposed": Notes.of(ONSETS, PITCHES + 1),
    "an octave higher": Notes.of(ONSETS, PITCHES + 12),
    "played by another": Notes.of(*played(1, 2)),
    "another piece": Notes.of(*played(2, 1)),
    "backwards": Notes.of(ONSETS.max() - ONSETS, PITCHES),
}


def pairs_of(performances: dict[str, Notes], config: NoteIndexConfig = CONFIG) -> set[tuple[str, str]]:
    index = NoteIndex(config)
    index.add(performances.items())
    return {(one, other) for one, other, _ in index.matches()}


@pytest.mark.parametrize("change", COPIES)
def test_a_changed_copy_is_found(change):
    assert pairs_of({"a": ORIGINAL, "b": COPIES[change]}) == {("a", "b")}


@pytest.mark.parametrize("change", OTHERS)
def test_what_is_no_copy_is_not_found(change):
    assert pairs_of({"a": ORIGINAL, "b": OTHERS[change]}) == set()
    assert not is_same(compare(ORIGINAL, OTHERS[change], CONFIG), CONFIG)


def test_a_performance_as_steady_as_a_machine_is_told_apart_by_runs_of_notes_that_are_early_or_late():
    lag = 0.035 * np.sin(ONSETS)  # all within the tolerance
    match = compare(ORIGINAL, Notes.of(ONSETS + 0.04 + lag, PITCHES), CONFIG)
    assert match.agreement > 0.9
    assert match.drift_s > CONFIG.max_drift_s
    assert not is_same(match, CONFIG)


def test_offset_and_tempo_say_where_a_copy_lies():
    match = compare(ORIGINAL, Notes.of(ONSETS * 1.02 + 3, PITCHES), CONFIG)
    assert match.tempo == pytest.approx(1.02, abs=1e-3)
    assert match.offset_s == pytest.approx(3, abs=0.01)
    assert match.agreement == 1.0
    assert match.coverage == 1.0


@settings(deadline=None, max_examples=25)
@given(st.floats(-0.03, 0.03), st.floats(0, 600), st.integers(0, 100), st.integers(0, 100), st.integers(0, 2**32 - 1))
def test_any_copy_within_the_limits_is_found(tempo, offset_s, cut_start, cut_end, seed):
    rng = np.random.default_rng(seed)
    span = slice(cut_start, len(ONSETS) - cut_end)
    is_wrong = rng.random(len(PITCHES)) < 0.05
    pitches = np.where(is_wrong, PITCHES + rng.choice([-12, -1, 1, 12], len(PITCHES)), PITCHES)
    copy = Notes.of(ONSETS[span] * (1 + tempo) + offset_s, pitches[span])
    assert pairs_of({"a": ORIGINAL, "b": copy}) == {("a", "b")}


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 127)), max_size=60))
def test_any_notes_can_be_indexed_and_compared(events):
    notes = Notes.of([each[0] for each in events], [each[1] for each in events])
    assert pairs_of({"a": ORIGINAL, "b": notes}) == set()
    assert 0 <= compare(notes, notes, CONFIG).agreement <= 1


def test_notes_given_in_another_order_are_the_same_notes():
    order = np.random.default_rng(0).permutation(len(ONSETS))
    other = Notes.of(ONSETS[order], PITCHES[order])
    assert np.array_equal(other.onset_ms, ORIGINAL.onset_ms)
    assert np.array_equal(other.pitch, ORIGINAL.pitch)


def test_patterns_do_not_depend_on_what_else_is_looked_at():
    other = Notes.of(*played(2, 1))
    alone, among = find_patterns([ORIGINAL], CONFIG)[0], find_patterns([other, ORIGINAL, other], CONFIG)[1]
    assert np.array_equal(alone.hash, among.hash)
    assert np.array_equal(alone.time_ms, among.time_ms)


def test_more_copies_than_a_bucket_looks_at_are_still_reached_one_from_another():
    config = replace(CONFIG, max_bucket=3)
    performances = {f"{number:02}": transcribed_again(number, missed=0.02, jitter_s=0.002) for number in range(30)}
    reached, waiting = set(), ["00"]
    found = pairs_of(performances, config)
    assert len(found) < 30 * 29 / 2
    while waiting:
        here = waiting.pop()
        if here not in reached:
            reached.add(here)
            waiting += [each for pair in found if here in pair for each in pair]
    assert reached == set(performances)


def copies_of_several(num_each: int = 12) -> dict[str, Notes]:
    """Give equal performances, more than a small bucket looks at: which of them are neighbours is a tie."""
    originals = {"b": ORIGINAL, "a": OTHERS["another piece"], "c": COPIES["trimmed"]}
    return {f"{name}{number:02}": notes for name, notes in originals.items() for number in range(num_each)}


def shuffled(performances: dict[str, Notes], seed: int) -> list[tuple[str, Notes]]:
    items = list(performances.items())
    return [items[place] for place in np.random.default_rng(seed).permutation(len(items))]


def candidate_ids(index: NoteIndex) -> set[tuple[str, ...]]:
    return {tuple(sorted(index.ids[place] for place in pair)) for pair in index.candidates()}


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_adding_changes_no_pair(seed):
    config = replace(CONFIG, max_bucket=3)
    one, other = NoteIndex(config), NoteIndex(config)
    one.add(copies_of_several().items())
    other.add(shuffled(copies_of_several(), seed))
    assert one.ids != other.ids
    assert 36 < len(one.candidates()) < 36 * 35 / 2  # so that a tie could change them
    assert candidate_ids(other) == candidate_ids(one)
    assert list(other.matches()) == list(one.matches())


@pytest.mark.parametrize("num_parts", [2, 5, 36])
def test_an_index_made_in_parts_and_opened_again_gives_the_pairs_of_one_made_at_once(num_parts, tmp_path):
    config = replace(CONFIG, max_bucket=3)
    whole = NoteIndex(config)
    whole.add(copies_of_several().items())
    items = shuffled(copies_of_several(), num_parts)
    for number in range(num_parts):
        index = NoteIndex.open(tmp_path, config)
        index.add(items[number::num_parts])
        index.save(tmp_path)
    again = NoteIndex.open(tmp_path, config)
    assert len(list(tmp_path.iterdir())) == num_parts
    assert candidate_ids(again) == candidate_ids(whole)
    assert list(again.matches()) == list(whole.matches())


@pytest.mark.parametrize("num_slices", [1, 3, 100])
@pytest.mark.parametrize("keep_one_in", [1, 4])
def test_patterns_looked_at_in_slices_give_the_same_pairs(num_slices, keep_one_in, monkeypatch):
    index = NoteIndex(replace(CONFIG, keep_one_in=keep_one_in))
    index.add([*COPIES.items(), *OTHERS.items()])
    index.add([("later", COPIES["shifted"])])
    whole = index.candidates()
    monkeypatch.setattr(note_index, "NUM_SLICES", num_slices)
    assert len(whole) >= 45
    assert np.array_equal(index.candidates(), whole)


def test_only_pairs_with_something_new_are_given():
    index = NoteIndex()
    index.add([("a", COPIES["as it is"]), ("b", COPIES["shifted"])])
    index.add([("c", COPIES["faster"])])
    assert {pair[:2] for pair in index.matches(num_known=2)} == {("a", "c"), ("b", "c")}
    assert list(index.matches(num_known=3)) == []


def test_an_index_is_kept_and_grows(tmp_path):
    index = NoteIndex.open(tmp_path / "index")
    assert index.add([("a", ORIGINAL), ("a", OTHERS["another piece"])]) == 1
    index.save(tmp_path / "index")
    again = NoteIndex.open(tmp_path / "index")
    assert again.add([("a", ORIGINAL), ("b", COPIES["shifted"])]) == 1
    again.save(tmp_path / "index")
    again.save(tmp_path / "index")
    third = NoteIndex.open(tmp_path / "index")
    assert third.ids == ["a", "b"]
    assert "a" in third
    assert np.array_equal(third.notes("a").pitch, ORIGINAL.pitch)
    assert [pair[:2] for pair in third.matches()] == [("a", "b")]
    assert len(list((tmp_path / "index").iterdir())) == 2


def test_an_opened_index_is_mapped_and_not_copied(tmp_path):
    index = NoteIndex()
    index.add((f"{number}", Notes.of(*played(number, 0))) for number in range(10))
    index.save(tmp_path)
    num_bytes = pa.total_allocated_bytes()
    again = NoteIndex.open(tmp_path)
    assert len(again.notes("3")) == len(index.notes("3"))
    assert pa.total_allocated_bytes() - num_bytes < index.num_bytes / 10


def test_an_index_needs_less_than_nine_bytes_a_note():
    index = NoteIndex()
    index.add((f"{number}", Notes.of(*played(number, 0, 600))) for number in range(10))
    assert index.num_bytes < 9 * sum(len(index.notes(each)) for each in index.ids)


def test_a_damaged_index_and_one_of_other_settings_are_refused(tmp_path):
    index = NoteIndex()
    index.add([("a", ORIGINAL)])
    index.save(tmp_path)
    with pytest.raises(DatasetCorrupt, match="other settings"):
        NoteIndex.open(tmp_path, replace(CONFIG, ratio_bins=8))
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DatasetCorrupt, match="damaged"):
        NoteIndex.open(tmp_path)


def test_an_empty_index_has_no_pairs(tmp_path):
    assert list(NoteIndex().matches()) == []
    assert list(NoteIndex.open(tmp_path / "none").matches()) == []
    index = NoteIndex()
    index.add([("a", Notes.of([], [])), ("b", Notes.of([], []))])
    assert list(index.matches()) == []
