"""What lies in the folder in which a page's blocks are run: one function a name in `<!-- begins with: ... -->`."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from datasets_made import make_dataset, performance
from fakes import encode_audio, manifest_row, melody, noise, write_audio

from aria_data.manifest import Manifest
from aria_data.midi import Note, Performance, midi_bytes

NOCTURNE = {"title": "Nocturne in E-flat major, Op. 9 No. 2", "artist": "Arthur Rubinstein", "composer": "Chopin"}
PRELUDE = {"title": "Bach: Prelude and Fugue in C major, BWV 846", "artist": "A. Pianist"}


def recordings(folder: Path) -> None:
    """Two recordings of piano with tags, a copy of one of them in another format, and a talk."""
    rate = 32_000
    encode_audio(folder / "recordings/Chopin/nocturne.flac", melody(40, 1, rate), "flac", rate, tags=NOCTURNE)
    encode_audio(
        folder / "recordings/Chopin/nocturne again.mp3", melody(40, 1, rate), "libmp3lame", rate, tags=NOCTURNE
    )
    encode_audio(folder / "recordings/prelude.flac", melody(36, 2, rate), "flac", rate, tags=PRELUDE)
    write_audio(folder / "recordings/talk.wav", noise(35))


def one_recording(folder: Path) -> None:
    write_audio(folder / "recordings/nocturne.wav", melody(9, 1))


def built(folder: Path) -> None:
    """The dataset of `recordings`, built once a session and copied."""
    if not (_kept() / "dataset").exists():
        recordings(_kept())
        from flows.cli.jobs import run_build

        run_build(_kept() / "recordings", _kept() / "dataset")
    shutil.copytree(_kept(), folder, dirs_exist_ok=True)


def reviews(folder: Path) -> None:
    """What somebody has said of the three segments of `built`."""
    from aria_data.release.reviews import Reviews

    said = Reviews(folder / "dataset")
    for row, verdict in zip(Manifest(folder / "dataset").rows(), ("good", "bad", "good"), strict=True):
        is_bad = verdict == "bad"
        said.add(row, verdict, ["wrong bounds"] if is_bad else [], "begins with applause" if is_bad else "")


def files_to_score(folder: Path) -> None:
    """Thirty MIDI files of fifteen compositions, two with the same name each."""
    make_dataset(folder / "dataset", 30)


def files_to_train_on(folder: Path) -> None:
    """A dataset of sixteen easy MIDI files, twelve of them to train on."""
    rows = []
    for number in range(16):
        draw = random.Random(number)
        notes = [
            Note(0.25 * i, 0.25 * i + 0.2, 60 + (number % 3) + 4 * (i % 3), draw.randint(50, 90)) for i in range(20)
        ]
        content = midi_bytes(Performance(notes))
        path = folder / "dataset" / "midi" / f"{number}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        values = {"midi_path": f"midi/{number}.mid", "midi_sha256": hashlib.sha256(content).hexdigest()}
        rows.append(manifest_row(f"local-{number:02d}_0", split="train", transcription_confidence=0.9, **values))
    Manifest(folder / "dataset").commit(rows)


def own_network(folder: Path) -> None:
    """A network of one's own with its tokens, as docs/pruning.md takes it, and a score table."""
    import torch
    from pages import network

    from aria_data.pruning import ScoreTable

    torch.manual_seed(0)
    torch.save(network(), folder / "mine.pt")
    np.save(folder / "tokens.npy", np.random.default_rng(0).integers(0, 20, (5, 11)))
    np.save(folder / "owners.npy", np.array([0, 0, 1, 2, 2]))
    (folder / "dataset" / "scores").mkdir(parents=True, exist_ok=True)
    ids = ["youtube-abc_0", *(f"local-{number:02d}_0" for number in range(30))]
    ScoreTable.of(ids, {"el2n": np.linspace(0, 1, len(ids))}).save(folder / "scores.parquet")


def lists(folder: Path) -> None:
    """Lists of titles, with and without labels."""
    titles = ["Chopin: Nocturne Op. 9 No. 2, piano solo", "Violin sonata No. 5", "Guitar lesson 3"]
    (folder / "titles.csv").write_text("title\n" + "".join(f'"{title}"\n' for title in titles))
    rows = "".join(f'"{title}",{number == 0:d}\n' for number, title in enumerate(titles))
    (folder / "labels.csv").write_text("title,label\n" + rows)
    tags = "title,composer,composition_id\n" + f'"{titles[0]}",Frédéric Chopin,chopin:op9-2\n'
    (folder / "tags.csv").write_text(tags, encoding="utf-8")


def true_midi(folder: Path) -> None:
    """True notes of recordings, and a benchmark's folder with its table of titles."""
    for name in ("nocturne", "nocturne again", "prelude"):
        path = folder / "true_midi" / f"{name}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(performance(1))
    benchmark = folder / "maestro-v3.0.0"
    (benchmark / "2018").mkdir(parents=True)
    (benchmark / "2018" / "a.midi").write_bytes(performance(7))
    columns = "canonical_composer,canonical_title,split,year,midi_filename,audio_filename,duration"
    line = 'Frédéric Chopin,"Ballade No. 1 in G Minor, Op. 23",test,2018,2018/a.midi,2018/a.wav,30'
    (benchmark / "maestro-v3.0.0.csv").write_text(f"{columns}\n{line}\n", encoding="utf-8")


WORLDS: dict[str, Callable[[Path], None]] = {
    "recordings": recordings,
    "one recording": one_recording,
    "a built dataset": built,
    "reviews": reviews,
    "files to score": files_to_score,
    "files to train on": files_to_train_on,
    "a network": own_network,
    "lists": lists,
    "true midi": true_midi,
}
KEPT: list[Path] = []  # the folder of this session; set by the test that makes worlds


def _kept() -> Path:
    return KEPT[0]
