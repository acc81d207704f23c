"""`aria-data classify` and `aria-data evaluate classifier`, as a person calls them, with the real classifier."""

from __future__ import annotations

import json
import os
import unicodedata

import numpy as np
import pytest
from click.testing import CliRunner
from fakes import noise, write_audio

from aria_data.audio import mono_blocks
from aria_data.segment import SegmentConfig
from classifiers import music, soundfont, synthesize
from classifiers.predict import WindowScores
from flows.cli import command
from flows.evaluate import classifier
from flows.tools.classify_files import judged

RATE = 16_000


def piano(seconds: float, seed: int = 3) -> np.ndarray:
    """Random music on the piano of the soundfont that comes along, shape (num_samples, 1)."""
    notes, pedals = music.compose(np.random.default_rng(seed), seconds, (music.melody_and_chords,), beats_per_s=2.0)
    stereo = soundfont.render(notes, pedals, sample_rate=RATE, tail_s=1.0, gain_db=12.0)
    waveform = stereo.mean(axis=1)[: int(seconds * RATE)]
    return np.pad(waveform, (0, int(seconds * RATE) - len(waveform)))[:, None]


@pytest.fixture
def aria():
    return lambda *arguments: CliRunner().invoke(command.cli, [str(each) for each in arguments], catch_exceptions=True)


@pytest.fixture(scope="module")
def music_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    write_audio(folder / "piano.wav", piano(40))
    write_audio(folder / "talky.flac", np.concatenate([noise(40), piano(40), noise(40)]))
    write_audio(folder / "deep" / "noise.ogg", noise(15))
    (folder / "notes.txt").write_text("no audio")
    return folder


@pytest.fixture(scope="module")
def labels(music_folder):
    (music_folder / "labels.csv").write_text("file,label\npiano.wav,piano\ndeep/noise.ogg,noise\n")
    (music_folder / "segments.csv").write_text(
        "file,start_s,end_s,label\ntalky.flac,0,40,noise\ntalky.flac,40,80,piano\ntalky.flac,80,120,noise\n"
    )
    return music_folder


def test_json_is_one_line_a_file_with_its_segments(aria, music_folder):
    ended = aria("classify", music_folder, "--json")
    assert ended.exit_code == 0, ended.output
    rows = {row["file"].rsplit("/", 1)[1]: row for row in map(json.loads, ended.stdout.splitlines())}
    assert set(rows) == {"piano.wav", "talky.flac", "noise.ogg"}
    assert rows["piano.wav"].keys() >= {"file", "audio_score", "is_solo_piano", "segments"}
    assert rows["piano.wav"]["is_solo_piano"] is True
    assert rows["noise.ogg"]["is_solo_piano"] is False
    assert rows["noise.ogg"]["segments"] == []
    (segment,) = rows["talky.flac"]["segments"]
    assert segment.keys() == {"start_s", "end_s", "audio_score"}
    assert (segment["start_s"], segment["end_s"]) == (pytest.approx(40, abs=1), pytest.approx(80, abs=1))
    assert rows["talky.flac"]["is_solo_piano"] is False  # most of it is not
    assert rows["talky.flac"]["audio_score"] == pytest.approx(segment["audio_score"])


def test_a_short_file_can_be_solo_piano_without_a_segment_that_is_long_enough(aria, music_folder):
    kept = json.loads(aria("classify", music_folder / "piano.wav", "--json", "--min-segment-s", 60).stdout)
    assert (kept["is_solo_piano"], kept["segments"]) == (True, [])
    kept = json.loads(aria("classify", music_folder / "piano.wav", "--json", "--min-segment-s", 5).stdout)
    assert len(kept["segments"]) == 1


def said(scores: list[float], causes: list[str]) -> WindowScores:
    values = np.array(scores, np.float32)
    shares = np.eye(len(synthesize.CAUSES), dtype=np.float32)[[synthesize.CAUSES.index(cause) for cause in causes]]
    return WindowScores(values, values, shares, synthesize.CAUSES, np.repeat(values, 4), 1.0, 0.25, float(len(scores)))


@pytest.mark.parametrize(
    ("scores", "causes", "is_solo_piano"),
    [
        ([0.9] * 10, ["piano"] * 10, True),
        ([0.9] * 4 + [0.05] * 16, ["piano"] * 4 + ["silence"] * 16, True),  # silence is not held against it
        ([0.9] * 4 + [0.05] * 16, ["piano"] * 4 + ["speech"] * 16, False),
        ([0.55] * 10, ["piano"] * 10, False),  # not sure enough on the whole
        ([0.75] * 6 + [0.35] * 4, ["piano"] * 10, False),
        ([0.05] * 5, ["silence"] * 5, False),
    ],
)
def test_a_file_is_solo_piano_when_most_of_what_sounds_surely_is(scores, causes, is_solo_piano):
    assert judged("x", said(scores, causes), SegmentConfig()).is_solo_piano is is_solo_piano


def test_without_json_there_is_a_table(aria, music_folder):
    ended = aria("classify", music_folder / "talky.flac", music_folder / "piano.wav")
    assert ended.exit_code == 0
    assert "solo piano" in ended.output
    assert "0:40" in ended.output or "0:39" in ended.output
    assert "x real time" in ended.output


def test_a_broken_file_costs_only_itself(aria, music_folder, tmp_path):
    (tmp_path / "\x1b[2Jbad.mp3").write_bytes(b"no sound")
    ended = aria("classify", tmp_path, music_folder / "piano.wav", tmp_path / "gone.wav", "--json")
    assert ended.exit_code == 1
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert sorted("error" in row for row in rows) == [False, True, True]
    assert all("\x1b" not in row.get("error", "") for row in rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "max_gap=1"], "unknown key 'max_gap'. Did you mean 'max_gap_s'?"),
        (["--set", "local_weight=2"], "local_weight is 2.0, but lies between 0 and 1"),
        (["--min-segment-s", "-1"], "min_segment_s is -1.0, but may not be negative"),
        (["--device", "cuda:77"], "device 'cuda:77' cannot be used"),
        (["--weights", "nowhere.pt"], "nowhere.pt: no such file"),
    ],
)
def test_wrong_usage_is_one_clear_line(aria, music_folder, arguments, said):
    ended = aria("classify", music_folder / "piano.wav", *arguments)
    assert ended.exit_code != 0
    assert said in str(ended.exception)


def test_an_empty_folder_is_named(aria, tmp_path):
    assert "holds no audio files" in str(aria("classify", tmp_path).exception)


def test_the_evaluation_judges_clips_and_segments_by_every_rule(aria, labels, tmp_path):
    given = ["--labels", labels / "labels.csv", "--segments", labels / "segments.csv"]
    ended = aria("evaluate", "classifier", *given, "--json", "--plots", tmp_path / "plots")
    assert ended.exit_code == 0, ended.output
    said = json.loads(ended.stdout)
    assert said["by_rule"]["ours"] == {"piano": [1, 1], "noise": [1, 1]}
    assert said["segments"]["ours"]["mean_segment_iou"] > 0.9
    assert said["segments"]["ours"]["median_boundary_error_s"] < 1.0
    assert said["segments"]["Aria-MIDI"]["mean_segment_iou"] == 0.0  # its threshold is for the whole file
    assert said["auc"] == 1.0
    drawn = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert drawn == ["programmes.svg", "reliability.svg", "scores.svg", "thresholds.svg"]


def test_the_evaluation_prints_tables_and_names_what_it_could_not_read(aria, labels):
    (labels / "gone.csv").write_text("file,label\npiano.wav,piano\nnowhere.wav,speech\n")
    ended = aria("evaluate", "classifier", "--labels", labels / "gone.csv")
    assert ended.exit_code == 1
    assert "by rule" in ended.output
    assert "nowhere.wav" in ended.output


def test_a_table_names_files_whether_accents_are_one_character_or_two_and_a_surprise_costs_one(
    aria, labels, tmp_path, monkeypatch
):
    names = [unicodedata.normalize(form, "Dvořák.wav") for form in ("NFC", "NFD")]
    os.symlink(labels / "piano.wav", tmp_path / names[1])
    os.symlink(labels / "deep" / "noise.ogg", tmp_path / "b.ogg")
    (tmp_path / "labels.csv").write_text(f"file,label\n{names[0]},piano\nb.ogg,noise\n", encoding="utf-8")

    def opened(path, *rest):
        if path.name == "b.ogg":
            raise ZeroDivisionError("oops")
        return mono_blocks(path, *rest)

    monkeypatch.setattr(classifier, "mono_blocks", opened)
    ended = aria("evaluate", "classifier", "--labels", tmp_path / "labels.csv", "--json")
    assert ended.exit_code == 1
    assert json.loads(ended.stdout_bytes)["by_rule"]["ours"] == {"piano": [1, 1]}
    assert "b.ogg: unexpected ZeroDivisionError: oops" in ended.stderr
    assert "Dvo" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "name --labels or --segments"), (["--labels", "nowhere.csv"], "nowhere.csv: cannot be read")],
)
def test_an_evaluation_of_nothing_is_refused(aria, arguments, said):
    assert said in str(aria("evaluate", "classifier", *arguments).exception)
