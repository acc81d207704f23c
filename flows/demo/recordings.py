"""The recordings of `make demo`: synthesised from scores in the public domain, so that nothing is downloaded.

The folder has solo piano in several formats, a concert with talk and applause, an orchestra, a copy, a silence and two
broken files. Every file comes with the result that the pipeline should have.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from aria_data.midi import Performance
from aria_data.storage import write_whole
from classifiers.soundfont import render
from flows.demo.performance import perform
from flows.demo.scores import Score, load_scores
from flows.demo.sounds import SAMPLE_RATE, applause, at_level, encode, in_a_room, orchestra, talk

__all__ = ["DemoRecording", "make_recordings", "perform"]

LICENCE = "Apache-2.0 (made by this project from a work in the public domain)"
PIANIST = "The Demo Pianist"


@dataclass(frozen=True)
class DemoRecording:
    """One file of the demo, with its true notes and the expected result."""

    path: Path
    kind: str  # "solo piano", "programme", "orchestra", "copy", "silence", "broken"
    expected: str  # "kept", "partly", "rejected", "duplicate", "failure"
    truth: Performance | None  # the notes that were played, in seconds of the file; None where there is no piano
    piano_start_s: float  # where the piano's part begins; 0 where there is none
    note: str  # for a person


def make_recordings(folder: Path, seed: int = 0) -> list[DemoRecording]:
    """Write the demo's recordings into a folder and describe them. The same seed gives the same sound.

    Each file is written whole or not at all; files of the same names are replaced.
    """
    scores = load_scores()
    made = [
        _solo(folder / f"{stem}{suffix}", scores[score_id], seed, tags)
        for score_id, stem, suffix, tags in _solo_files(scores)
    ]
    made.append(_programme(folder / "recital-village-hall.opus", scores, seed))
    made.append(_orchestra(folder / "pachelbel-canon-ensemble.flac", scores["pachelbel_canon_d_major"], seed))
    made.append(_copy(folder / "prelude (copy).wav", made[0], scores["bach_prelude_c_major"], seed))
    made.extend(_without_sound(folder, scores["satie_gymnopedie_1"], seed))
    return sorted(made, key=lambda recording: recording.path.name)


def _solo_files(scores: dict[str, Score]) -> list[tuple[str, str, str, dict[str, str]]]:
    """(score, stem of the file, suffix, tags). One file has no tags, so only its name tells what it is."""
    return [
        ("bach_prelude_c_major", "bach-prelude-c-major", ".flac", _tags(scores["bach_prelude_c_major"])),
        ("petzold_minuet_g_major", "petzold-minuet-g-major", ".mp3", _tags(scores["petzold_minuet_g_major"])),
        ("satie_gymnopedie_1", "satie-gymnopedie-1", ".m4a", _tags(scores["satie_gymnopedie_1"])),
        (
            "joplin_entertainer",
            "joplin-the-entertainer",
            ".ogg",
            _tags(scores["joplin_entertainer"]) | {"genre": "Ragtime"},
        ),
        ("pachelbel_canon_d_major", "Johann Pachelbel - Canon in D major (piano solo)", ".mp3", {}),
    ]


def _tags(score: Score) -> dict[str, str]:
    title = f"{score.title}, {score.catalogue}" if score.catalogue else score.title
    return {
        "title": title,
        "artist": PIANIST,
        "composer": score.composer,
        "album": "Demo Recordings",
        "copyright": LICENCE,
    }


def _play(score: Score, seed: int) -> tuple[Performance, np.ndarray]:
    """A performance and its sound without a room, (num_samples, 2)."""
    performance = perform(score, seed)
    notes = [(note.onset_s, note.offset_s, note.pitch, note.velocity) for note in performance.notes]
    pedals = [(pedal.onset_s, pedal.offset_s, pedal.controller) for pedal in performance.pedals]
    return performance, render(notes, pedals, sample_rate=SAMPLE_RATE, tail_s=3.0)


def _solo_sound(score: Score, seed: int) -> tuple[Performance, np.ndarray]:
    performance, waveform = _play(score, seed)
    return performance, in_a_room(waveform, np.random.default_rng([seed, 1]))


def _solo(path: Path, score: Score, seed: int, tags: dict[str, str]) -> DemoRecording:
    performance, waveform = _solo_sound(score, seed)
    write_whole(path, encode(waveform, path.suffix, tags))
    note = f"{score.composer}: {score.title}, {score.style}"
    return DemoRecording(path, "solo piano", "kept", performance, 0.0, note if tags else f"{note}; a file without tags")


def _programme(path: Path, scores: dict[str, Score], seed: int) -> DemoRecording:
    """A concert: somebody speaks, applause, the piano, applause, an orchestra. Only the piano should be kept."""
    rng = np.random.default_rng([seed, 2])
    performance, piano = _play(scores["beethoven_fur_elise"], seed)
    before = [at_level(talk(12.0, rng), -23), at_level(applause(6.0, rng), -24)]
    after = [
        at_level(applause(8.0, rng), -24),
        at_level(orchestra(scores["pachelbel_canon_d_major"], rng, end_s=24.0), -21),
    ]
    pause = np.zeros((SAMPLE_RATE // 2, 2), np.float32)
    before = [part for sound in before for part in (sound, pause)]
    piano_start_s = sum(len(part) for part in before) / SAMPLE_RATE
    waveform = in_a_room(np.concatenate([*before, at_level(piano), *after]), rng)
    title = "Beethoven - Für Elise - Recital at the village hall"
    write_whole(path, encode(waveform, path.suffix, {"title": title, "artist": PIANIST, "copyright": LICENCE}))
    _write_sidecar(path, title, len(waveform) / SAMPLE_RATE)
    note = "talk, applause, Ludwig van Beethoven: Für Elise (main section), applause, orchestra; with a yt-dlp sidecar"
    return DemoRecording(path, "programme", "partly", _shifted(performance, piano_start_s), piano_start_s, note)


def _write_sidecar(path: Path, title: str, duration_s: float) -> None:
    """The `.info.json` that yt-dlp writes beside a download, with the fields a dataset needs."""
    info = {
        "id": "demo-recital",
        "title": title,
        "description": (
            "The opening of the demo recital: a few words of welcome, then Für Elise (Bagatelle in A minor, WoO 59) by "
            f"Ludwig van Beethoven, played by {PIANIST} on solo piano. Afterwards other players took the stage."
        ),
        "uploader": "Village Hall Concerts",
        "duration": round(duration_s),
        "license": LICENCE,
        "webpage_url": "https://example.org/demo/recital-village-hall",
    }
    write_whole(path.with_suffix(".info.json"), json.dumps(info, ensure_ascii=False, indent=2).encode() + b"\n")


def _shifted(performance: Performance, by_s: float) -> Performance:
    """The same performance, later."""

    def later(event):
        return replace(event, onset_s=event.onset_s + by_s, offset_s=event.offset_s + by_s)

    return Performance([later(note) for note in performance.notes], [later(pedal) for pedal in performance.pedals])


def _orchestra(path: Path, score: Score, seed: int) -> DemoRecording:
    rng = np.random.default_rng([seed, 3])
    tags = _tags(score) | {"artist": "The Demo Ensemble"}
    write_whole(path, encode(in_a_room(orchestra(score, rng), rng), path.suffix, tags))
    note = f"{score.composer}: {score.title}, for strings, winds, brass and timpani; its tags do not say so"
    return DemoRecording(path, "orchestra", "rejected", None, 0.0, note)


def _copy(path: Path, original: DemoRecording, score: Score, seed: int) -> DemoRecording:
    _, waveform = _solo_sound(score, seed)
    write_whole(path, encode(waveform, path.suffix, {"title": score.title}))
    note = f"the samples of {original.path.name} in another container"
    return DemoRecording(path, "copy", "duplicate", original.truth, 0.0, note)


def _without_sound(folder: Path, score: Score, seed: int) -> list[DemoRecording]:
    """A minute of silence, a file that is no audio, and one whose download stopped half-way."""
    silent, not_audio, cut = folder / "silence.flac", folder / "not-audio.mp3", folder / "download-cut-short.m4a"
    write_whole(silent, encode(np.zeros((60 * SAMPLE_RATE, 2), np.float32), ".flac", {"title": "Track 07"}))
    write_whole(not_audio, b"<html><body>404: this page is not a recording.</body></html>\n" * 200)
    whole = encode(_play(score, seed)[1][: 20 * SAMPLE_RATE], ".m4a", _tags(score))
    write_whole(cut, whole[: len(whole) // 2])
    return [
        DemoRecording(silent, "silence", "rejected", None, 0.0, "60 s of digital silence"),
        DemoRecording(not_audio, "broken", "failure", None, 0.0, "a web page that was saved as .mp3"),
        DemoRecording(
            cut, "broken", "failure", None, 0.0, "the first half of an .m4a: its index, at the end, is missing"
        ),
    ]
