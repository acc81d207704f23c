"""The examples of docs/library.md run as they are printed."""

from __future__ import annotations

import os
import re

import pytest
from fakes import FakeTranscriber, melody, use_fakes, write_audio
from places import ROOT

import aria_data
from aria_data.transcribe import devices, midi_output

GUIDE = ROOT / "docs" / "library.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    write_audio(folder / "recordings" / "nocturne.wav", melody(9, 1))
    return folder


def run(block: str, folder, monkeypatch, capsys) -> str:
    use_fakes(monkeypatch)
    monkeypatch.setattr(devices, "load_everywhere", lambda config, compute: FakeTranscriber())
    monkeypatch.chdir(folder)
    midi_output._loaded.cache_clear()
    exec(compile(block, str(GUIDE), "exec"), {"__name__": "guide"})
    midi_output._loaded.cache_clear()
    return capsys.readouterr().out


def test_a_build_is_called_and_its_dataset_is_read(folder, monkeypatch, capsys):
    before = {name: value for name, value in os.environ.items() if not name.startswith("KMP_")}
    build = BLOCKS[0].replace('"dataset",', '"dataset", with_prefect=False,')
    assert run(build, folder, monkeypatch, capsys) == "1 1 {}\n"
    assert {name: value for name, value in os.environ.items() if not name.startswith("KMP_")} == before
    assert re.match(r"local-[0-9a-f]{16}_0 .* \d+\n$", run(BLOCKS[1], folder, monkeypatch, capsys))


def test_a_file_is_transcribed_and_its_notes_are_read(folder, monkeypatch, capsys):
    shown = run(BLOCKS[2], folder, monkeypatch, capsys)
    assert re.match(r"18 notes, confidence", shown)
    assert shown.count("Note(onset_s=") == 3


def test_the_classifier_finds_no_piano_in_sine_tones_and_its_example_runs(folder, monkeypatch, capsys):
    assert run(BLOCKS[3], folder, monkeypatch, capsys) == ""


def test_titles_are_read_and_judged(folder, monkeypatch, capsys):
    assert run(BLOCKS[4], folder, monkeypatch, capsys).splitlines() == [
        "Frédéric Chopin Martha Argerich chopin:op23 g minor",
        "5 piano solo",
        "1 violin",
        "2 ",
    ]


def test_each_example_has_at_most_six_lines_and_every_name_of_the_front_door_is_shown():
    assert len(BLOCKS) == 5
    assert max(len([line for line in block.splitlines() if line.strip()]) for block in BLOCKS) <= 6
    assert all(name in GUIDE.read_text(encoding="utf-8") for name in aria_data.__all__)
    assert all(getattr(aria_data, name).__doc__ for name in aria_data.__all__)
    assert set(aria_data.__all__) <= set(dir(aria_data))
    with pytest.raises(AttributeError, match="nothing"):
        aria_data.nothing  # noqa: B018
