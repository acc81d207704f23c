"""Odd audio through a whole build and the commands: what is said of it, and where its music lies."""

from __future__ import annotations

import json

import pytest
from audio_files import RATE, film, id3v2, tracks, wav, wrapped
from click.testing import CliRunner
from fakes import FakeTranscriber, encode_audio, melody, use_fakes

from aria_data.manifest import Manifest
from aria_data.transcribe import devices
from flows.cli import command
from flows.cli.jobs import run_build
from flows.show.explain import explain


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder of odd files, and what a build says of it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("place") / "out"
    sound = melody(8, 1, RATE, 2)
    film(source / "late.mp4", "aac", [(5, sound)], 14)
    tracks(source / "two tracks.mp4", [0 * sound, melody(8, 2, RATE, 2)], 0)
    (source / "inverted.wav").write_bytes(wav(melody(8, 3, num_channels=2) * [1, -1]))
    (source / "wrapped.wav").write_bytes(wrapped(wav(melody(8, 4))))
    (source / "Bach: Prelude.wav").write_bytes(wav(melody(8, 5)))
    mp3 = encode_audio(source / "x.mp3", melody(8, 6, RATE, 2), "libmp3lame").read_bytes()
    (source / "x.mp3").write_bytes(id3v2({"TIT2": "Лунная соната".encode("cp1251")}) + mp3)
    (source / "cut.wav").write_bytes(wav(melody(8, 7))[:150_000])
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        summary = run_build(source, out, settings=("segment.min_segment_s=5",), with_prefect=False)
    return source, out, summary, {row["source_url"]: row for row in Manifest(out).rows()}


def test_every_odd_file_is_in_the_manifest_and_the_cut_one_is_not(world):
    _, _, summary, rows = world
    assert set(rows) == {"late.mp4", "two tracks.mp4", "inverted.wav", "wrapped.wav", "Bach: Prelude.wav", "x.mp3"}
    assert [line.split(" (")[0] for line in summary.failures] == ["cut.wav: truncated"]
    assert all(row["num_notes"] >= 14 for row in rows.values())


def test_start_s_is_where_a_player_plays_the_music(world):
    row = world[3]["late.mp4"]
    assert row["start_s"] == pytest.approx(5, abs=1)  # the stand-in for the classifier judges whole seconds
    assert row["end_s"] == pytest.approx(13, abs=0.1)


def test_a_build_and_explain_say_what_is_odd(world):
    _, out, summary, rows = world
    assert [note.split(":")[0] for note in summary.notes] == ["late.mp4", "two tracks.mp4", "wrapped.wav"]
    reasons = explain(out, rows["two tracks.mp4"]["recording_id"]).reasons
    assert any("number 2, the first that sounds, was read" in reason for reason in reasons)


def test_a_title_in_another_encoding_is_read(world):
    assert world[3]["x.mp3"]["title"] == "Лунная соната"


def test_transcribe_says_what_is_odd_and_refuses_what_a_build_refuses(world, tmp_path, monkeypatch):
    source, _, summary, _ = world
    monkeypatch.setattr(devices, "load_everywhere", lambda config, compute: FakeTranscriber())

    def run(*arguments):
        return CliRunner().invoke(command.cli, ["transcribe", str(source), *map(str, arguments)])

    rows = [json.loads(line) for line in run("--out", tmp_path / "a", "--json").stdout.splitlines() if line[0] == "{"]
    found = {row["file"].rpartition("/")[2]: row for row in rows}
    assert [f"{name}: {row['note']}" for name, row in sorted(found.items()) if row["note"]] == summary.notes
    assert found["cut.wav"]["error"] in summary.failures[0]
    assert not (tmp_path / "a" / "cut.mid").exists()
    assert found["late.mp4"]["duration_s"] == pytest.approx(13, abs=0.1)
    assert "two tracks.mp4: holds 2 tracks of sound" in run("--out", tmp_path / "b").output
