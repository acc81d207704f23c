"""Datasets made at once, without a build: rows with MIDI files beside them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from fakes import manifest_row

from aria_data.manifest import Manifest
from aria_data.midi import Note, Performance, midi_bytes
from aria_data.pruning.seeds import ScoringConfig
from aria_data.surrogate import SurrogateConfig
from flows.select_subset import ScoreRequest

QUICK = ScoringConfig(surrogate=SurrogateConfig(width=16, layers=1, heads=2, num_steps=6, min_steps=1, device="cpu"))
SOME = ScoreRequest(seeds=2, only=("loss", "el2n"))


def song(number: int) -> bytes:
    """A short MIDI file that no other number has."""
    return midi_bytes(Performance([Note(0.5 * i, 0.5 * i + 0.4, 40 + (number + i) % 48, 64) for i in range(4)]))


def row_with_midi(root: Path, segment_id: str, content: bytes, **values) -> dict:
    sha256 = hashlib.sha256(content).hexdigest()
    path = f"midi/{sha256[:2]}/{sha256[:16]}.mid"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)
    return manifest_row(segment_id, midi_path=path, midi_sha256=sha256, **values)


def make_rows(root: Path, count: int, **values) -> list[dict]:
    composers, splits = ("Frédéric Chopin", "Erik Satie", ""), ("train", "train", "validation", "test")
    return [
        row_with_midi(
            root,
            f"local-{number:04d}_0",
            song(number),
            composer=composers[number % 3],
            split=splits[number % 4],
            num_notes=number,
            in_unique=number % 2 == 0,
            **values,
        )
        for number in range(count)
    ]


def performance(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    onsets = np.cumsum(rng.uniform(0.05, 0.4, 120))
    notes = [
        Note(float(at), float(at) + 0.2, int(pitch), 64)
        for at, pitch in zip(onsets, rng.integers(40, 90, 120), strict=True)
    ]
    return midi_bytes(Performance(notes))


def make_dataset(root, count: int = 30):
    rows = []
    for number in range(count):
        content = performance(number)
        path = f"midi/{number:02d}.mid"
        (root / "midi").mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
        rows.append(
            manifest_row(
                f"local-{number:02d}_0",
                midi_path=path,
                midi_sha256=hashlib.sha256(content).hexdigest(),
                composition_id=f"chopin:op{number // 2}" if number % 6 else "",
                split="test" if number >= 26 else "train",
                num_notes=120,
                recording_cluster=f"recording-{number}",
            )
        )
    Manifest(root).commit(rows)
    return root
