"""What a page plays and draws of a span of a recording: its sound, a spectrogram, notes, the classifier's scores."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.audio.decode import AudioReader
from aria_data.midi import Performance
from aria_data.storage.delta_tables import data_files, open_delta
from aria_data.storage.files import from_location

SOUND_RATE = 22_050  # of what a browser plays: enough for a piano
MAX_SOUND_S = 3600.0  # of one answer: 150 MB
PICTURE_RATE = 8_000  # Hz: pictures show up to 4 kHz, the piano's highest fundamental
PICTURE_WIDTH, PICTURE_HEIGHT = 1600, 176  # pixels; two a semitone
LOWEST_PITCH, HIGHEST_PITCH = 21, 108
FLOOR_DB = -70.0  # of a picture, below its loudest point


def recording_wav(root: Path, location: str, start_s: float, end_s: float) -> bytes:
    """The sound of a span as a mono 16-bit WAV file.

    Raises `AudioUnreadable` or `AudioUnreachable`.
    """
    with AudioReader(from_location(location, root), SOUND_RATE, 1) as reader:
        blocks = list(reader.blocks(start_s, min(end_s, start_s + MAX_SOUND_S)))
    return _wav(np.concatenate(blocks)[:, 0] if blocks else np.zeros(1, np.float32), SOUND_RATE)


def notes_wav(played: Performance) -> bytes:
    """Notes and pedals as a piano plays them (a small soundfont), as a mono 16-bit WAV file."""
    from classifiers.soundfont import render

    notes = [(note.onset_s, note.offset_s, note.pitch, note.velocity) for note in played.notes]
    pedals = [(each.onset_s, each.offset_s, each.controller) for each in played.pedals]
    return _wav(render(notes, pedals, sample_rate=SOUND_RATE).mean(axis=1), SOUND_RATE)


def _wav(waveform: np.ndarray, rate: int) -> bytes:
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, np.clip(waveform, -1.0, 1.0), rate, format="WAV", subtype="PCM_16")
    return out.getvalue()


def spectrogram_png(root: Path, location: str, start_s: float, end_s: float) -> bytes:
    """Draw the span's loudness by semitone, A0 to C8, and time, as a PNG of fixed size. Raises as `recording_wav`.

    Time runs over the whole width. A column is the loudest of the frames that fall on it.
    """
    from matplotlib import colormaps
    from matplotlib.image import imsave

    duration_s = max(end_s - start_s, 1e-3)
    picture = np.full((PICTURE_HEIGHT, PICTURE_WIDTH), FLOOR_DB * 2, np.float32)
    with AudioReader(from_location(location, root), PICTURE_RATE, 1) as reader:
        for at_s, levels in _levels(block[:, 0] for block in reader.blocks(start_s, end_s)):
            column = min(int(at_s / duration_s * PICTURE_WIDTH), PICTURE_WIDTH - 1)
            picture[:, column] = np.maximum(picture[:, column], levels)
    empty = picture.max(axis=0) <= FLOOR_DB * 2
    for column in np.flatnonzero(empty)[np.flatnonzero(empty) > 0]:  # a short span has fewer frames than columns
        picture[:, column] = picture[:, column - 1]
    shown = np.clip((picture - picture.max()) / -FLOOR_DB + 1.0, 0.0, 1.0)
    out = io.BytesIO()
    imsave(out, (colormaps["magma"](shown[::-1]) * 255).astype(np.uint8), format="png")
    return out.getvalue()


def _levels(blocks: Any, window: int = 2048):
    """Yield the time in seconds and the level in dB of each row of the picture, for each frame."""
    frequencies = np.fft.rfftfreq(window, 1 / PICTURE_RATE)
    pitches = np.linspace(LOWEST_PITCH, HIGHEST_PITCH, PICTURE_HEIGHT)
    bins = np.clip(np.searchsorted(frequencies, 440.0 * 2 ** ((pitches - 69) / 12)), 1, len(frequencies) - 1)
    hann, pending, done = np.hanning(window).astype(np.float32), np.zeros(0, np.float32), 0
    for block in itertools.chain(blocks, [np.zeros(window, np.float32)]):
        pending = np.concatenate([pending, block])
        count = (len(pending) - window) // (window // 4) + 1 if len(pending) >= window else 0
        if count <= 0:
            continue
        frames = np.lib.stride_tricks.sliding_window_view(pending, window)[:: window // 4][:count]
        power = np.abs(np.fft.rfft(frames * hann, axis=1))[:, bins]
        for number, level in enumerate(20 * np.log10(power + 1e-6)):
            yield (done + number * (window // 4)) / PICTURE_RATE, level
        pending, done = pending[count * (window // 4) :], done + count * (window // 4)


def scores_of(root: Path, recording_id: str) -> dict[str, Any]:
    """The classifier's local scores along a recording: `step_s` and `values`; empty where it has none."""
    import pyarrow.dataset as pads

    opened = open_delta(root / "tables" / "classify")
    if opened is None:
        return {}
    files = data_files(root / "tables" / "classify", opened)
    found = files.to_table(columns=["record"], filter=pads.field("item_id") == recording_id).to_pylist()
    records = [row["record"] for row in found if row["record"]]
    if not records:
        return {}
    last = records[-1]
    return {"step_s": last["step_s"], "values": [round(value, 3) for value in last["local_scores"]]}


def drawn(played: Performance) -> dict[str, Any]:
    """Notes and pedals as short lists, for the script that draws them."""
    return {
        "notes": [[round(n.onset_s, 4), round(n.offset_s, 4), n.pitch, n.velocity] for n in played.notes],
        "pedals": [[round(p.onset_s, 4), round(p.offset_s, 4), p.controller] for p in played.pedals],
    }
