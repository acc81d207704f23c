"""The code of docs/training.md runs as it is printed, on a small dataset."""

from __future__ import annotations

import hashlib
import random
import re
from pathlib import Path

import pytest
from fakes import manifest_row
from places import ROOT

from aria_data.manifest import Manifest
from aria_data.midi import Note, Performance, midi_bytes

GUIDE = ROOT / "docs" / "training.md"


def code() -> str:
    return re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)[0]


@pytest.fixture
def context(tmp_path, monkeypatch) -> Path:
    rows = []
    for number in range(16):
        draw = random.Random(number)
        notes = [
            Note(0.25 * i, 0.25 * i + 0.2, 60 + (number % 3) + 4 * (i % 3), draw.randint(50, 90)) for i in range(20)
        ]
        content = midi_bytes(Performance(notes))
        path = tmp_path / "dataset" / "midi" / f"{number}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        values = {"midi_path": f"midi/{number}.mid", "midi_sha256": hashlib.sha256(content).hexdigest()}
        rows.append(manifest_row(f"local-{number:02d}_0", split="train", transcription_confidence=0.9, **values))
    Manifest(tmp_path / "dataset").commit(rows)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_guides_code_trains_a_model(context, capsys):
    import torch

    torch.manual_seed(0)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small matrices: threads would wait for each other
    try:
        exec(compile(code(), str(GUIDE), "exec"), {"__name__": "guide"})
    finally:
        torch.set_num_threads(num_threads)
    losses = [float(loss) for loss in re.findall(r"loss ([0-9.]+)", capsys.readouterr().out)]
    assert len(losses) == 3
    assert losses[2] < losses[0]


def test_the_guides_code_is_20_lines():
    lines = [line for line in code().splitlines() if line.strip()]
    assert len(lines) <= 20
    assert max(map(len, lines)) <= 120
