"""What a change did to a dataset: another transcriber, seen in rows, notes, confidence and subsets."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner
from fakes import FakeTranscriber, manifest_row, melody, write_audio

from aria_data.manifest import Manifest
from aria_data.midi import Note
from aria_data.transcribe import TranscriptionResult
from flows.cli.command import cli
from flows.engine.context import BuildContext
from flows.show.effects import effects_of


class Timid(FakeTranscriber):
    """Another transcriber: it finds every second note, and is less sure of it."""

    name, sha256 = "timid", "e" * 64

    def decoder(self):
        found = super().decoder()
        finish = found.finish

        def fewer() -> TranscriptionResult:
            result = finish()
            notes: list[Note] = result.performance.notes[::2]
            return TranscriptionResult(type(result.performance)(notes), 0.5, np.full(len(notes), 0.5))

        found.finish = fewer
        return found


def test_another_transcriber_is_seen_in_notes_confidence_and_subsets(build, tmp_path, monkeypatch):
    for seed in range(3):
        write_audio(tmp_path / "in" / f"{seed}.flac", melody(8, seed))
    build(tmp_path / "in", tmp_path / "out")
    monkeypatch.setattr(BuildContext, "transcriber", Timid())
    monkeypatch.setattr(BuildContext, "transcriber_sha256", Timid.sha256)
    build(tmp_path / "in", tmp_path / "out", settings=())
    effects = {one.name: one for one in effects_of(tmp_path / "out", 1, 2)}
    assert (effects["rows"].old, effects["rows"].new) == (3, 3)
    assert effects["notes"].new == pytest.approx(effects["notes"].old / 2, abs=3)
    confidence = effects["mean transcription_confidence"]
    assert (confidence.old, confidence.new) == (pytest.approx(0.9), pytest.approx(0.5))
    shown = CliRunner().invoke(cli, ["diff", str(tmp_path / "out"), "1", "2"]).output
    assert "mean transcription_confidence" in shown
    assert "3 transcribed again" in " ".join(shown.split())
    printed = json.loads(CliRunner().invoke(cli, ["diff", str(tmp_path / "out"), "1", "2", "--json"]).output)
    assert printed["effects"]["notes"]["new"] == effects["notes"].new
    assert "in_pruned" in printed["effects"]


def test_rows_that_came_into_a_subset_and_left_it_are_counted_though_its_size_stayed(tmp_path):
    manifest = Manifest(tmp_path)
    rows = [manifest_row(f"a-{number}_0", in_pruned=number < 2, onset_agreement=math.nan) for number in range(4)]
    manifest.commit(rows)
    manifest.commit([row | {"in_pruned": number in (1, 2), "in_mine": number == 0} for number, row in enumerate(rows)])
    effects = {one.name: one for one in effects_of(tmp_path, 1, 2)}
    assert (effects["in_pruned"].old, effects["in_pruned"].new) == (2, 2)
    assert (effects["in_pruned"].entered, effects["in_pruned"].left) == (1, 1)
    assert (effects["in_mine"].old, effects["in_mine"].new) == (0, 1)  # a subset that was defined since
    assert effects["mean onset_agreement"].new is None  # nobody has the number
    shown = CliRunner().invoke(cli, ["diff", str(tmp_path), "1", "2"]).output
    assert "1 came, 1 went" in shown
