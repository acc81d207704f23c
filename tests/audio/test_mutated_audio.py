"""Mutated audio of every container: no crash, no hang, nothing else is opened, and every command says the same."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from audio_mutations import DECOY, make, originals
from click.testing import CliRunner
from fakes import FakeClassifier, FakeTranscriber, melody, write_audio
from mutated.running import MAX_MEMORY_MB, Watched, decoy_server, rows_of
from places import SUPPORT

from aria_data.collect import collect_folder
from aria_data.records import Rejection
from aria_data.storage.stage_tables import RecordTable
from aria_data.transcribe import devices
from flows.cli import command
from flows.tools import classify_files

NUM_MUTATIONS, NUM_BUILT = 3000, 120
REASONS = {"", "truncated", "not_audio", "damaged", "no_audio_decoded", "no_audio_stream", "sound_left_out", "too_long"}
REASONS |= {"samples_not_finite", "samples_out_of_range", "too_many_channels", "empty_file"}


@pytest.mark.slow
def test_mutated_audio_of_every_container_is_read_or_refused_alike_and_nothing_else_is_opened(tmp_path):
    decoy = write_audio(tmp_path / DECOY, melody(1))
    watched = Watched(decoy)
    script = SUPPORT / "audio_mutations.py"
    with decoy_server() as (port, asked):
        found = rows_of((script, tmp_path, port, 0, NUM_MUTATIONS), tmp_path)
    assert len(found) == NUM_MUTATIONS
    odd = [
        (name, verdicts) for _, name, _, verdicts, _ in found if len(set(verdicts)) > 1 or verdicts[0] not in REASONS
    ]
    assert odd == []
    assert max(memory_mb for *_, memory_mb in found) < MAX_MEMORY_MB
    assert Counter(verdicts[0] for *_, verdicts, _ in found)["truncated"] > 100  # the mutations bite
    assert asked == []
    assert watched.num_opened() == 0


@pytest.mark.slow
def test_build_classify_and_transcribe_refuse_the_same_mutated_files_for_the_same_reason(tmp_path, build, monkeypatch):
    files, folder = originals(tmp_path / "originals"), tmp_path / "in"
    folder.mkdir()
    names = [make(files, folder, number, 9).name for number in range(NUM_BUILT)]
    settings = ("segment.min_segment_s=1", "ingest.min_duration_s=0.01", "ingest.min_loudness_db=-200")
    build(folder, tmp_path / "out", settings=settings)
    failures = [each for each in RecordTable(tmp_path / "out", "rejections", Rejection).read() if each.is_failure]
    taken = {
        candidate.source_url for candidate in collect_folder(folder).candidates
    }  # without the .ts that are no audio
    assert {name for name in names if not name.endswith(".ts")} <= taken
    built = {each.source_url: each.detail for each in failures}

    monkeypatch.setattr(devices, "load_everywhere", lambda config, compute: FakeTranscriber())
    monkeypatch.setattr(classify_files, "load_classifier", lambda weights, device: FakeClassifier())
    monkeypatch.setattr(classify_files, "judged", lambda file, found, config: classify_files.ClassifiedFile(file))
    for arguments in (["classify", folder, "--json"], ["transcribe", folder, "--json", "--out", tmp_path / "midi"]):
        ended = CliRunner().invoke(command.cli, [str(each) for each in arguments])
        rows = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
        errors = {row["file"].rpartition("/")[2]: row["error"] for row in rows if row.get("error")}
        assert {row["file"].rpartition("/")[2] for row in rows} == taken
        assert errors == built
