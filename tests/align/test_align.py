"""A performance along its score: beats where they were played, repeats and cuts found, wrong scores rejected."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from scores_made import made_score, musicxml, perform

pytest.importorskip("parangonar", reason="scores are aligned by the extra `align`, which is not installed")

from aria_data.align import Alignment, NotAligned, ScoreIndex, align, check_composition, read_score
from aria_data.align.alignment import AlignConfig
from aria_data.align.alignment_files import beat_lines, write_alignment
from aria_data.align.many import Item, align_many, candidates_of
from aria_data.align.score_index import ScoreCandidate
from aria_data.midi import Note


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """Thirty scores of one composer; number 3 has a repeat of bars 1 to 8, number 4 an upbeat."""
    folder = tmp_path_factory.mktemp("scores")
    written, read = [], []
    for number in range(30):
        options = {3: {"repeat": (0, 7)}, 4: {"upbeat": True}}.get(number, {})
        score = made_score(number, title=f"Piano Sonata in C major, K. {280 + number}", **options)
        path = folder / f"{number:02d}.musicxml"
        path.write_text(musicxml(score))
        written.append(score)
        read.append(read_score(path, path.name))
    return written, read


@pytest.fixture(scope="module")
def index(scores):
    return ScoreIndex(scores[1])


def aligned(notes, index, tagged=""):
    return align(notes, candidates_of(notes, index, tagged, AlignConfig()))


def errors_of(truth, found) -> np.ndarray:
    """How far each true time is from the nearest that was found, in seconds."""
    return np.abs(np.asarray(truth)[:, None] - np.asarray(found)[None, :]).min(axis=1)


def times(found, downbeats: bool = False) -> list[float]:
    return [beat.time_s for beat in found.beats if beat.is_downbeat or not downbeats]


def test_beats_and_downbeats_are_where_they_were_played(scores, index):
    played = perform(scores[0][0])
    found = aligned(played.notes, index)
    assert found.score.score_id == "00.musicxml"
    assert len(found.beats) == len(played.beats)
    assert errors_of(played.beats, times(found)).max() < 0.04
    assert errors_of(played.downbeats, times(found, True)).max() < 0.04
    assert (found.first_bar, found.last_bar, found.num_bars, found.is_complete_piece) == (1, 24, 24, True)
    assert found.score_match > 0.97
    assert found.alignment_confidence == 1.0
    assert found.tempo_bpm_median == pytest.approx(96, rel=0.1)


@pytest.mark.parametrize("faults", [{"missed": 0.12}, {"wrong": 0.1}, {"missed": 0.08, "wrong": 0.08}])
def test_wrong_and_missing_notes_move_no_beat(scores, index, faults):
    played = perform(scores[0][1], **faults)
    found = aligned(played.notes, index)
    assert np.mean(errors_of(played.beats, times(found)) < 0.07) > 0.97
    assert 0.8 < found.score_match < 0.98


def test_ornaments_move_no_beat(scores, index):
    played = perform(scores[0][2], trills=0.08)
    found = aligned(played.notes, index)
    assert np.mean(errors_of(played.beats, times(found)) < 0.07) > 0.97


@pytest.mark.parametrize("order", [[*range(8), *range(24)], list(range(24))], ids=["taken", "left out"])
def test_a_repeat_is_found_where_it_is_taken(scores, index, order):
    played = perform(scores[0][3], order)
    found = aligned(played.notes, index)
    assert found.num_bars == len(order)
    assert len(found.path.stretches) == 1 + (len(order) > 24)
    assert errors_of(played.downbeats, times(found, True)).max() < 0.07
    assert found.is_complete_piece


def test_a_repeat_without_a_sign_is_found(scores, index):
    """As in an edition that writes no repeat, or a score that was unfolded."""
    played = perform(scores[0][5], [*range(16), *range(4, 24)])
    found = aligned(played.notes, index)
    assert found.num_bars == 36
    assert np.mean(errors_of(played.beats, times(found)) < 0.07) > 0.95


def test_a_cut_is_jumped_over(scores, index):
    played = perform(scores[0][6], [*range(8), *range(14, 24)])
    found = aligned(played.notes, index)
    assert found.num_bars in (18, 19)
    assert not found.is_complete_piece
    assert np.mean(errors_of(played.downbeats, times(found, True)) < 0.07) > 0.94


def test_a_segment_from_the_middle_says_its_bars(scores, index):
    played = perform(scores[0][7], list(range(9, 19)))
    found = aligned(played.notes, index)
    assert (found.first_bar, found.last_bar, found.is_complete_piece) == (10, 19, False)
    assert errors_of(played.downbeats, times(found, True)).max() < 0.04


def test_an_upbeat_has_no_downbeat_and_the_first_full_bar_is_the_first(scores, index):
    written = scores[0][4]
    played = perform(written)
    found = aligned([Note(0.2, 0.4, written.melody[0][0], 60), *played.notes], index)
    assert errors_of(played.downbeats, times(found, True)).max() < 0.04
    assert len(times(found, True)) == 24


def test_a_wrong_score_is_rejected_with_its_number(scores):
    written, read = scores
    for number in range(6):
        played = perform(written[number])
        for other in range(number + 10, number + 16):
            found = align(played.notes, [ScoreCandidate(read[other], 0, False)])
            assert isinstance(found, NotAligned)
            assert found.reason in ("agreement_below_min", "leaps_above_max", "score_match_below_min")
            assert found.measured > 0
            assert found.tried[0][0] == read[other].score_id


def test_few_notes_and_no_candidate_are_said(scores, index):
    played = perform(scores[0][0]).notes
    assert aligned(played[:20], index).reason == "too_few_notes"
    assert align(played, []).reason == "no_candidate"
    assert isinstance(aligned([Note(i / 10, i / 10 + 0.05, 60, 64) for i in range(200)], index), NotAligned)


def test_the_right_score_is_found_by_notes_alone_and_first_by_its_name(scores, index):
    written, read = scores
    for number in range(0, 30, 3):
        notes = perform(written[number], list(range(6, 18)), missed=0.05).notes
        assert candidates_of(notes, index, "", AlignConfig())[0].score is read[number]
    named = candidates_of(perform(written[9]).notes, index, read[20].composition_id, AlignConfig())
    assert named[0].score is read[20]
    assert named[0].is_named
    assert named[1].score is read[9]


def test_tags_are_compared_with_the_notes(scores, index):
    found = aligned(perform(scores[0][10]).notes, index)
    assert found.score.composition_id == "mozart:k290"
    assert check_composition("mozart:k290", found, index).composition_agrees is True
    assert check_composition("mozart:k290:2", found, index).composition_agrees is True
    contradicted = check_composition("mozart:k281", found, index)
    assert contradicted.composition_agrees is False
    assert contradicted.proposed_composition == "mozart:k290"
    proposed = check_composition("", found, index)
    assert (proposed.composition_agrees, proposed.proposed_composition) == (None, "mozart:k290")
    assert "10.musicxml" in proposed.evidence


def test_a_tag_whose_own_score_does_not_fit_is_contradicted_without_another_score(scores, index):
    notes = perform(made_score(999)).notes
    found = aligned(notes, index, "mozart:k281")
    assert isinstance(found, NotAligned)
    assert check_composition("mozart:k281", found, index).composition_agrees is False
    assert check_composition("mozart:k999", found, index).composition_agrees is None


def test_beats_are_written_as_asap_writes_them_and_details_name_every_note(scores, index, tmp_path):
    played = perform(scores[0][0], missed=0.05)
    found = aligned(played.notes, index)
    beats, details = write_alignment(tmp_path, "a", played.notes, found)
    lines = [line.split("\t") for line in beats.read_text().splitlines()]
    assert lines[0][0] == lines[0][1]
    assert lines[0][2] == "db,3/4,0"
    assert {line[2] for line in lines[1:]} == {"b", "db"}
    assert beats.read_text() == beat_lines(found.beats)
    rows = pq.read_table(details).to_pylist()
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in ("beat", "matched", "missing", "extra")}
    assert len(kinds["beat"]) == len(found.beats)
    assert len(kinds["matched"]) + len(kinds["extra"]) == len(played.notes)
    assert len(kinds["matched"]) + len(kinds["missing"]) == len(found.score.onset)
    for row in kinds["matched"]:
        assert played.notes[row["note"]].pitch == row["pitch"]
        assert played.notes[row["note"]].onset_s == row["time_s"]


def test_several_processes_give_what_one_gives(scores, index):
    items = []
    for number in (0, 1, 2):
        notes = perform(scores[0][number], list(range(8))).notes
        items.append(Item(number, notes, candidates_of(notes, index, "", AlignConfig())))
    alone = {item.tag: found.beats for item, found in align_many(items, AlignConfig(), 1)}
    together = {item.tag: found.beats for item, found in align_many(items, AlignConfig(), 2)}
    assert alone == together
    assert all(isinstance(found, Alignment) for _, found in align_many(items[:1], AlignConfig(), 1))
