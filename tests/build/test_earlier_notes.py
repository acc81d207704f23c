"""New code may find other notes by the same weights: what was found before stands, what is new has another key."""

from __future__ import annotations

from fakes import melody, write_audio

from aria_data.manifest import Manifest
from aria_data.records import Transcription
from aria_data.storage.stage_tables import StageTable
from aria_data.transcribe import TranscribeConfig
from aria_data.transcribe.backends import transkun

SHORT = ("segment.min_segment_s=4",)


def keys(dataset) -> dict[str, str]:
    return {one.item_id: one.key for one in StageTable(dataset, "transcribe", Transcription).all()}


def test_notes_of_earlier_code_stand_and_new_ones_have_another_key(build, tmp_path, monkeypatch):
    source, dataset = tmp_path / "in", tmp_path / "out"
    monkeypatch.setattr(transkun, "NOTES_VERSION", 1)
    write_audio(source / "Schubert - Impromptu.flac", melody(12, seed=1))
    build(source, dataset, settings=SHORT)
    (before,) = keys(dataset).items()
    monkeypatch.setattr(transkun, "NOTES_VERSION", 3)  # two numbers later
    write_audio(source / "Chopin - Nocturne.flac", melody(12, seed=2))
    summary = build(source, dataset, settings=SHORT)
    assert summary.stages["transcribe"].num_worked_on == 1
    assert summary.num_files == len(Manifest(dataset).rows()) == 2
    now = keys(dataset)
    assert dict([before]).items() <= now.items()
    assert len(now) == 2
    again = build(source, dataset, settings=SHORT)
    assert again.stages["transcribe"].num_worked_on == 0
    assert not again.is_new_version


def test_another_setting_transcribes_again_whatever_the_number(build, tmp_path, monkeypatch):
    source, dataset = tmp_path / "in", tmp_path / "out"
    monkeypatch.setattr(transkun, "NOTES_VERSION", 1)
    write_audio(source / "Schubert - Impromptu.flac", melody(12, seed=1))
    build(source, dataset, settings=SHORT)
    monkeypatch.setattr(transkun, "NOTES_VERSION", 2)
    summary = build(source, dataset, settings=(*SHORT, "transcribe.correct_tuning=false"))
    assert summary.stages["transcribe"].num_worked_on == 1


def test_notes_by_earlier_heads_stand_and_new_ones_are_by_those_of_today(build, tmp_path, monkeypatch):
    source, dataset = tmp_path / "in", tmp_path / "out"
    (earlier, *_), of_today = transkun.EARLIER_HEADS, transkun.heads_sha256
    write_audio(source / "Schubert - Impromptu.flac", melody(12, seed=1))
    with monkeypatch.context() as of_then:
        of_then.setattr(transkun, "heads_sha256", lambda config: earlier if config.heads else "")
        of_then.setattr(transkun, "NOTES_VERSION", 1)
        build(source, dataset, settings=SHORT)
    (before,) = keys(dataset).items()
    assert earlier != of_today(TranscribeConfig())
    write_audio(source / "Chopin - Nocturne.flac", melody(12, seed=2))
    summary = build(source, dataset, settings=SHORT)
    assert summary.stages["transcribe"].num_worked_on == 1
    assert dict([before]).items() <= keys(dataset).items()
    alone = build(source, dataset, settings=(*SHORT, "transcribe.heads=false"))  # another setting is another result
    assert alone.stages["transcribe"].num_worked_on == 2
