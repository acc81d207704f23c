"""`aria-data transcribe` and `aria-data evaluate transcription`, as a person calls them."""

from __future__ import annotations

import json
import os
import unicodedata

import numpy as np
import pytest
from click.testing import CliRunner
from fakes import FakeDecoder, FakeTranscriber, melody, write_audio

from aria_data.midi import Note, Pedal, Performance, midi_bytes, read_midi
from aria_data.midi.accuracy import compare_notes
from aria_data.transcribe import devices
from flows.cli import command
from flows.evaluate import transcription
from flows.tools.transcribe_files import plan

SCALE = Performance([Note(0.5 * i, 0.5 * i + 0.4, 60 + i, 40 + 5 * i) for i in range(10)], [Pedal(1.0, 2.0)])


@pytest.fixture
def aria(monkeypatch):
    monkeypatch.setattr(devices, "load_everywhere", lambda config, compute: FakeTranscriber())

    def run(*arguments):
        return CliRunner().invoke(command.cli, [str(each) for each in arguments], catch_exceptions=True)

    return run


@pytest.fixture
def music(tmp_path):
    for name in ("a.wav", "b.flac", "deep/c.ogg", "deep/a.flac"):
        write_audio(tmp_path / "music" / name, melody(6, seed=len(name)))
    (tmp_path / "music" / "notes.txt").write_text("no audio")
    return tmp_path / "music"


def test_a_folder_gives_a_midi_file_a_recording_and_none_replaces_another(aria, music, tmp_path):
    ended = aria("transcribe", music, "--out", tmp_path / "midi")
    assert ended.exit_code == 0, ended.output
    assert sorted(path.name for path in (tmp_path / "midi").iterdir()) == ["a-2.mid", "a.mid", "b.mid", "c.mid"]
    assert len(read_midi(tmp_path / "midi" / "b.mid").notes) == 12
    assert "x real time, confidence 0.900" in ended.output


def test_json_is_a_line_a_file_with_notes_seconds_speed_and_confidence(aria, music, tmp_path):
    ended = aria("transcribe", music / "a.wav", music / "b.flac", "--out", tmp_path / "midi", "--json")
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["num_notes"] for line in lines] == [12, 12]
    for line in lines:
        assert line["duration_s"] == pytest.approx(6.0)
        assert line["rtfx"] > 0
        assert (line["confidence"], line["error"]) == (0.9, "")


def test_odd_names_get_targets_of_their_own(tmp_path):
    names = ["x/a.wav", "y/a.wav", "z/a-2.wav", f"{'ю' * 125}.wav", f"{'ю' * 124}x.wav"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    targets = list(plan([tmp_path / name for name in names], tmp_path / "out").values())
    assert [target.name for target in targets[:3]] == ["a.mid", "a-2.mid", "a-2-2.mid"]
    assert len(set(targets)) == len(names)
    assert all(len(os.fsencode(target.name)) < 240 for target in targets)


def test_a_file_that_is_added_changes_no_pair(aria, music, tmp_path):
    out = tmp_path / "midi"

    def pairs():
        ended = aria("transcribe", music, "--out", out, "--json", "--overwrite")
        return {line["file"]: line["midi"] for line in map(json.loads, ended.stdout.splitlines())}

    before = pairs()
    for name in ("a.aiff", "deep/a.aiff", "aa/a.wav"):  # all before a.wav in order, and of its stem
        write_audio(music / name, melody(5))
    after = pairs()
    assert {file: after[file] for file in before} == before
    assert len(set(after.values())) == 7
    (out / "a.mid").unlink()
    freed = pairs()  # the name that is free again goes to one of the files without a .mid
    assert len(set(freed.values())) == 7
    assert {file: freed[file] for file, midi in after.items() if midi != str(out / "a.mid")}.items() <= after.items()


def test_a_file_that_is_added_is_transcribed_without_overwriting_the_others(aria, music, tmp_path):
    aria("transcribe", music, "--out", tmp_path / "midi")
    before = {path: path.read_bytes() for path in (tmp_path / "midi").iterdir()}
    write_audio(music / "a.aiff", melody(5))
    ended = aria("transcribe", music, "--out", tmp_path / "midi", "--json")
    (added,) = [line for line in map(json.loads, ended.stdout.splitlines()) if not line["error"]]
    assert added["file"].endswith("/a.aiff")
    assert added["midi"].endswith("/a-3.mid")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("charset", ["utf-8", "latin-1"])
def test_json_is_utf_8_whatever_files_are_called_and_terminals_take(aria, tmp_path, charset):
    names = [os.fsdecode(b"caf\xe9.wav"), "Прелюдия.wav", "夜想曲.wav", 'a "quoted" \\ name.wav', "two\nlines.wav"]
    for name in names:
        write_audio(tmp_path / "in" / name, melody(4))
    run = CliRunner(charset=charset)
    ended = run.invoke(command.cli, ["transcribe", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--json"])
    assert ended.exit_code == 0, ended.output
    text = ended.stdout_bytes.decode("utf-8")
    found = {json.loads(line)["file"].rpartition("/")[2] for line in text.splitlines()}
    assert found == {r"caf\udce9.wav", *names[1:]}


def test_a_name_that_is_no_utf_8_or_would_steer_a_terminal_is_shown_escaped(aria, tmp_path):
    hostile = [os.fsdecode(b"caf\xe9.wav"), "\x1b[31mred.wav", "[/bold] x.wav"]
    for name in hostile:
        write_audio(tmp_path / "in" / name, melody(4))
    (tmp_path / "in" / "\x1b[2Jbad.mp3").write_bytes(b"no")
    for options in ([], ["--json", "--overwrite"]):
        ended = aria("transcribe", tmp_path / "in", "--out", tmp_path / "midi", *options)
        assert ended.exit_code == 1
        assert "\x1b" not in ended.output
    assert len(list((tmp_path / "midi").iterdir())) == 3


def test_a_surprise_costs_one_file(aria, music, tmp_path, monkeypatch):
    class Broken(FakeDecoder):
        def finish(self):
            raise ZeroDivisionError("oops")

    decoders = iter([FakeDecoder, Broken, FakeDecoder, FakeDecoder])
    monkeypatch.setattr(FakeTranscriber, "decoder", lambda self: next(decoders)())
    ended = aria("transcribe", music, "--out", tmp_path / "midi", "--json")
    errors = [line["error"] for line in map(json.loads, ended.stdout.splitlines())]
    assert [bool(error) for error in errors] == [False, True, False, False]
    assert "b.flac: unexpected ZeroDivisionError: oops" in errors


def test_one_file_goes_to_one_midi_file(aria, music, tmp_path):
    assert aria("transcribe", music / "a.wav", "--out", tmp_path / "x.mid").exit_code == 0
    assert (tmp_path / "x.mid").is_file()
    ended = aria("transcribe", music, "--out", tmp_path / "y.mid")
    assert "is one file, but there are 4 to write" in str(ended.exception)


def test_what_is_there_already_is_kept_unless_asked_for(aria, music, tmp_path):
    target = tmp_path / "x.mid"
    target.write_bytes(b"mine")
    ended = aria("transcribe", music / "a.wav", "--out", target)
    assert (ended.exit_code, target.read_bytes()) == (1, b"mine")
    assert "exists. Use --overwrite" in ended.output
    assert aria("transcribe", music / "a.wav", "--out", target, "--overwrite").exit_code == 0
    assert read_midi(target).notes


def test_a_bad_file_is_one_line_and_the_others_go_on(aria, music, tmp_path):
    (music / "bad.mp3").write_bytes(b"no audio at all")
    (music / "empty.wav").touch()
    broken = melody(6)
    broken[1000] = np.nan
    write_audio(music / "nan.wav", broken, subtype="FLOAT")
    ended = aria("transcribe", music, music / "none.wav", "--out", tmp_path / "midi", "--json")
    errors = {line["file"].rpartition("/")[2]: line["error"] for line in map(json.loads, ended.stdout.splitlines())}
    assert ended.exit_code == 1
    assert [name for name, error in errors.items() if not error] == ["a.wav", "b.flac", "a.flac", "c.ogg"]
    for name in ("bad.mp3", "empty.wav", "nan.wav", "none.wav"):
        assert errors[name].startswith(name), errors[name]
        assert not (tmp_path / "midi" / name).with_suffix(".mid").exists()


def test_nothing_to_do_and_unknown_names_are_wrong_usage(aria, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no audio files" in str(aria("transcribe", tmp_path / "empty", "--out", tmp_path / "x").exception)
    ended = aria("transcribe", tmp_path, "--out", tmp_path / "x", "--transcriber", "whisper")
    assert "--transcriber: 'whisper' is not one of bytedance, transkun" in str(ended.exception)


@pytest.fixture
def folders(tmp_path):
    for side in ("true", "mine"):
        (tmp_path / side).mkdir()
        for name in ("one", "two"):
            (tmp_path / side / f"{name}.mid").write_bytes(midi_bytes(SCALE))
    return tmp_path / "true", tmp_path / "mine"


def test_equal_folders_are_perfect_and_the_conventions_are_named(aria, folders):
    ended = aria("evaluate", "transcription", "--reference", folders[0], "--estimate", folders[1])
    assert ended.exit_code == 0
    assert ended.stdout.count("1.0000") == 18
    assert "key releases extended by the sustain pedal" in ended.stdout
    assert "without pedal extension" in ended.stdout


def test_a_missing_and_a_broken_estimate_count_as_files_without_notes(aria, folders):
    (folders[1] / "one.mid").unlink()
    (folders[1] / "two.mid").write_bytes(b"no midi")
    (folders[0] / "three.mid").write_bytes(midi_bytes(SCALE))
    (folders[1] / "three.mid").write_bytes(midi_bytes(SCALE))
    ended = aria("evaluate", "transcription", "--reference", folders[0], "--estimate", folders[1], "--json")
    found = json.loads(ended.stdout)
    assert ended.exit_code == 1
    assert found["mean"]["onset_f1"] == pytest.approx(1 / 3)
    assert found["files"]["one"]["num_estimate"] == 0
    assert "one: has no estimate" in ended.stderr
    assert "two.mid" in ended.stderr
    assert found["mean"]["pedal_f1"] == pytest.approx(1 / 3)


def test_names_match_whether_accents_are_one_character_or_two(aria, folders):
    for number, name in enumerate(("Dvořák", "Für Elise", "Ноктюрн й", "が")):
        forms = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
        assert forms[0] != forms[1]
        for folder, form in zip(folders, forms if number % 2 else forms[::-1], strict=True):
            (folder / f"{form}.mid").write_bytes(midi_bytes(SCALE))
    ended = aria("evaluate", "transcription", "--reference", folders[0], "--estimate", folders[1], "--json")
    found = json.loads(ended.stdout)
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert len(found["files"]) == 6
    assert found["mean"]["onset_f1"] == 1.0


def test_no_bad_file_ends_an_evaluation(aria, folders):
    whole, names = midi_bytes(SCALE), "cut junk empty folder zero odd far".split()
    wrong = {"cut": whole[:-20], "junk": bytes(range(256)) * 2, "empty": b"", "zero": whole[:12] + b"\0\0" + whole[14:]}
    wrong |= {"odd": whole.replace(b"\x90", b"\x8f"), "far": whole[:14] + whole[14:].replace(b"\x87\x68", b"\xff\x7f")}
    for side, other in (folders, folders[::-1]):
        for name in names:
            target = side / f"{name}-{side.name}.mid"
            target.mkdir() if name == "folder" else target.write_bytes(wrong[name])
            (other / target.name).write_bytes(whole)
    ended = aria("evaluate", "transcription", "--reference", folders[0], "--estimate", folders[1], "--json")
    found = json.loads(ended.stdout)
    assert ended.exit_code == 1
    assert found["files"]["one"]["onset_f1"] == found["files"]["two"]["onset_f1"] == 1.0
    for name in ("cut", "junk", "empty", "folder", "zero"):
        assert found["files"][f"{name}-mine"]["onset_f1"] == 0.0
        assert f"{name}-true" not in found["files"]
        assert f"{name}-true.mid: " in ended.stderr


def test_a_file_whose_notes_cannot_be_matched_counts_as_0(aria, folders, monkeypatch):
    def compare(truth, estimate):
        if len(estimate.notes) == 1:  # stands in for a file so dense that matching takes all memory
            raise MemoryError
        return compare_notes(truth, estimate)

    monkeypatch.setattr(transcription, "compare_notes", compare)
    (folders[1] / "two.mid").write_bytes(midi_bytes(Performance([Note(0, 1, 60, 64)])))
    ended = aria("evaluate", "transcription", "--reference", folders[0], "--estimate", folders[1], "--json")
    assert json.loads(ended.stdout)["mean"]["onset_f1"] == 0.5
    assert "two.mid: cannot be compared (MemoryError). It counts as 0." in ended.stderr


def test_folders_without_a_pair_are_wrong_usage(aria, folders, tmp_path):
    (tmp_path / "other").mkdir()
    ended = aria("evaluate", "transcription", "--reference", folders[0], "--estimate", tmp_path / "other")
    assert "files are compared with those of the same name" in str(ended.exception)
