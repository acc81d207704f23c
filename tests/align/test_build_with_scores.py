"""A build with `release.scores`: what it releases has bars and beats, and what was aligned is not aligned again."""

from __future__ import annotations

import json

import mido
import numpy as np
import pytest
from click.testing import CliRunner
from fakes import SHORT_SEGMENTS, melody, write_audio

pytest.importorskip("parangonar", reason="scores are read by the extra `align`, which is not installed")

from aria_data.errors import UsageError
from aria_data.manifest import Dataset, Manifest
from flows.cli.command import cli

SECONDS, SEED = 40, 3
TITLE = "Chopin - Nocturne op. 9 no. 2.mid"


def score_of_melody(folder) -> None:
    """Write the score of `melody(SECONDS, SEED)` into a new folder."""
    file, track = mido.MidiFile(ticks_per_beat=480), mido.MidiTrack()
    file.tracks.append(track)
    track.append(mido.MetaMessage("time_signature", numerator=4, denominator=4))
    for pitch in np.random.default_rng(SEED).integers(48, 80, SECONDS * 2 + 1)[: SECONDS * 2]:
        track += [mido.Message("note_on", note=int(pitch), velocity=64)]
        track += [mido.Message("note_off", note=int(pitch), velocity=0, time=480)]
    folder.mkdir()
    file.save(folder / TITLE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recording whose name says nothing, another that no score is of, and a score of the first."""
    root = tmp_path_factory.mktemp("scores")
    write_audio(root / "recordings" / "take.wav", melody(SECONDS, SEED))
    write_audio(root / "recordings" / "other.wav", melody(SECONDS, SEED + 1))
    score_of_melody(root / "scores")
    (root / "scores" / "broken.musicxml").write_text("<score")
    return root


def with_scores(folder, name="scores"):
    return (*SHORT_SEGMENTS, f"release.scores={json.dumps(str(folder / name))}")


def test_a_build_with_scores_releases_bars_beats_and_a_proposed_composition(build, folder, tmp_path):
    out = tmp_path / "dataset"
    summary = build(folder / "recordings", out, settings=with_scores(folder))
    rows = {row["source_url"]: row for row in Dataset(out).rows()}
    found = rows["take.wav"]
    assert summary.version == 1
    assert (found["score_id"], found["composition_id"]) == (TITLE, "")
    assert found["proposed_composition"] == "chopin:op9-2"
    assert "score_match" in found["composition_evidence"]
    assert found["num_bars"] >= 15
    assert len(Dataset(out).beats(found["segment_id"]).splitlines()) >= 60
    assert rows["other.wav"]["score_id"] is None
    assert any("broken.musicxml" in line for line in summary.notes)

    content = Manifest(out).content_sha256()
    words = ["build", str(folder / "recordings"), "--out", str(out), "--scores", str(folder / "scores"), "--no-prefect"]
    found = CliRunner().invoke(cli, [*words, "--json"])
    assert (found.exit_code, Manifest(out).version(), Manifest(out).content_sha256()) == (0, 1, content), found.output
    without = build(folder / "recordings", out, settings=(*SHORT_SEGMENTS, "release.scores="))
    assert (without.version, Manifest(out).content_sha256()) == (1, content)  # what is known stays


def test_scores_that_are_not_there_are_said_before_anything_is_done(build, folder, tmp_path):
    with pytest.raises(
        UsageError, match=r"release.scores .*nowhere: is no folder.*--set release.scores=. does without"
    ):
        build(folder / "recordings", tmp_path / "dataset", settings=with_scores(folder, "nowhere"))
    assert not (tmp_path / "dataset").exists()
