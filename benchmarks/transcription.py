"""Note accuracy and speed of a transcriber on audio with true MIDI beside it.

    python benchmarks/transcription.py FOLDER

FOLDER holds pairs `name.<audio>` and `name.mid`. Prints a row a file, then the means.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from aria_data import transcribers
from aria_data.audio import AudioReader, probe
from aria_data.evaluate import compare_notes
from aria_data.midi import read_midi


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--transcriber", default="transkun", choices=transcribers.NAMES)
    arguments = parser.parse_args()
    pairs = [
        (audio, audio.with_suffix(".mid"))
        for audio in sorted(arguments.folder.iterdir())
        if audio.suffix != ".mid" and audio.with_suffix(".mid").exists()
    ]
    if not pairs:
        sys.exit(f"{arguments.folder}: holds no pairs of audio and .mid")
    model = transcribers.load(arguments.transcriber)
    rows = []
    print(f"{'file':40} {'s':>6} {'notes':>6} {'onset F1':>9} {'on+off F1':>9} {'x real time':>11}")
    for audio, midi in pairs:
        began = time.perf_counter()
        with AudioReader(audio, model.sample_rate, model.num_channels) as reader:
            estimate = model.transcribe(reader.blocks())
        took = time.perf_counter() - began
        accuracy, duration_s = compare_notes(read_midi(midi), estimate), probe(audio).duration_s or 0.0
        rows.append((accuracy, duration_s, took))
        print(
            f"{audio.name[:40]:40} {duration_s:6.1f} {accuracy.num_estimate:6} {accuracy.onset_f1:9.4f} "
            f"{accuracy.onset_offset_f1:9.4f} {duration_s / took:11.2f}",
            flush=True,
        )
    onset = sum(row[0].onset_f1 for row in rows) / len(rows)
    offset = sum(row[0].onset_offset_f1 for row in rows) / len(rows)
    rtfx = sum(row[1] for row in rows) / sum(row[2] for row in rows)
    print(f"{'mean':40} {sum(row[1] for row in rows):6.1f} {'':6} {onset:9.4f} {offset:9.4f} {rtfx:11.2f}")


if __name__ == "__main__":
    main()
