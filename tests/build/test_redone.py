"""`segment.redo` asks for what earlier code found of recordings to be found again, and keeps notes that stay right."""

from __future__ import annotations

import shutil
from dataclasses import replace

import fakes
import numpy as np
import pytest
from fakes import melody, write_audio
from places import DATA

from aria_data.manifest import Manifest

REDONE = ("segment.redo=1",)
WEB = {"web-01dc96b70285361b_0", "web-d9df45615762030c_0"}


def worked(summary) -> dict[str, int]:
    return {name: stage.num_worked_on for name, stage in summary.stages.items() if stage.num_worked_on}


@pytest.fixture
def old_dataset(tmp_path):
    return shutil.copytree(DATA / "dataset_of_2026", tmp_path / "dataset")


def test_a_dataset_of_earlier_code_gets_what_today_is_measured_of_edges_and_keeps_its_notes(old_dataset, build):
    before = {row["segment_id"]: row for row in Manifest(old_dataset).rows()}
    assert all(row.get("cut_at_end") is None for row in before.values())
    summary = build(None, old_dataset, settings=REDONE)
    assert "transcribe" not in worked(summary)
    rows = {row["segment_id"]: row for row in Manifest(old_dataset).rows() if row["removed_in"] is None}
    assert {key for key, row in rows.items() if row["cut_at_end"] is not None} == WEB  # the other one's audio is gone
    assert all(row["midi_sha256"] == before[key]["midi_sha256"] for key, row in rows.items())


def test_it_is_done_once_and_stays(old_dataset, build):
    build(None, old_dataset, settings=REDONE)
    rows = list(Manifest(old_dataset).rows())
    again = build(None, old_dataset, settings=())
    assert (again.is_new_version, "measure" in worked(again)) == (False, False)
    assert list(Manifest(old_dataset).rows()) == rows


SOFT, LOUD_S, SOFT_S = 0.02, 40.0, 12.0  # of the RMS of a soft opening, and how long both last


def with_soft_opening(seed: int) -> np.ndarray:
    loud = melody(LOUD_S, seed=seed)
    soft = melody(SOFT_S, seed=seed + 10)
    return np.concatenate([soft * np.float32(SOFT / np.sqrt(np.mean(soft**2))), loud])


def score_soft_as_unsure(monkeypatch, has_levels: bool) -> None:
    """A classifier that is unsure of what is soft; earlier code recorded no levels and no changes."""
    plain = fakes.FakeClassifier.score_blocks

    def score_blocks(self, blocks):
        waveform = np.concatenate([np.zeros(0, np.float32), *blocks])
        scores = plain(self, [waveform])
        length = fakes.RATE
        rms = [np.sqrt(np.mean(waveform[at : at + length] ** 2)) for at in range(0, len(waveform), length)]
        is_soft = (np.array(rms) < 2 * SOFT) & (scores.scores > 0.5)
        solo = np.where(is_soft, 0.15, scores.scores).astype(np.float32)
        found = replace(scores, scores=solo, local_scores=solo)
        if not has_levels:
            return found
        any_piano, levels = np.where(is_soft, 0.6, solo), 20 * np.log10(np.array(rms) + 1e-5)
        of_today = {"local_any_piano": any_piano, "levels_db": levels, "changes": np.zeros(len(solo))}
        return replace(found, **{name: values.astype(np.float32) for name, values in of_today.items()})

    monkeypatch.setattr(fakes.FakeClassifier, "score_blocks", score_blocks)


def test_only_a_segment_with_other_bounds_is_transcribed_again(tmp_path, build, monkeypatch):
    source, out = tmp_path / "in", tmp_path / "out"
    write_audio(source / "Chopin - Nocturne.flac", with_soft_opening(1))
    write_audio(source / "Chopin - Waltz.flac", melody(LOUD_S, seed=2))
    with monkeypatch.context() as patched:
        score_soft_as_unsure(patched, has_levels=False)
        build(source, out)
    before = {row["segment_id"]: row for row in Manifest(out).rows()}
    assert sorted(round(row["start_s"]) for row in before.values()) == [0, round(SOFT_S)]
    score_soft_as_unsure(monkeypatch, has_levels=True)
    assert worked(build(source, out)) == {}  # what was found stands, until it is asked for
    summary = build(source, out, settings=REDONE)
    assert {name: worked(summary)[name] for name in ("classify", "segment", "measure", "transcribe")} == {
        "classify": 2, "segment": 2, "measure": 2, "transcribe": 1,
    }  # fmt: skip
    rows = {row["segment_id"]: row for row in Manifest(out).rows()}
    assert rows.keys() == before.keys()
    assert [round(row["start_s"]) for row in rows.values()] == [0, 0]


def test_scores_that_say_all_that_todays_code_asks_are_kept(tmp_path, build, monkeypatch):
    score_soft_as_unsure(monkeypatch, has_levels=True)
    source, out = tmp_path / "in", tmp_path / "out"
    write_audio(source / "Chopin - Nocturne.flac", melody(LOUD_S, seed=1))
    build(source, out)
    assert worked(build(source, out, settings=REDONE)) == {"segment": 1, "measure": 1}
