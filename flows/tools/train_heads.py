"""Train the heads of transkun again: pedal and velocity. One command makes the weights that are shipped.

    make classifier-sounds
    python -m flows.tools.train_heads MIDI_FOLDER --out build/heads

MIDI_FOLDER holds performances with pedals as MIDI files, a folder a composer, a folder a piece, as ASAP has them. The
windows that heads learn from are kept in `--out` (4 MB each); the command goes on where it stopped. It writes
`transkun_heads.npz`, and with `--held-out` recordings on pianos and of pieces that nothing was trained on, for
`benchmarks/heads.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aria_data.audio import AudioReader
from aria_data.midi import Note, Pedal, Performance, midi_bytes, read_midi
from aria_data.storage import write_whole
from aria_data.transcribe import Compute, TranscribeConfig, backends
from aria_data.transcribe.backends.transkun_heads import Heads
from aria_data.transcribe.batching import pieces_of
from flows.tools.heads_pianos import CHECK, DOWN, SAMPLE_RATE, TEST, TRAIN, Played, missing, pianos, play, record
from flows.tools.heads_training import EPOCHS, LOSSES, ONSET_TOLERANCE_S, Example, fit_scale, load_examples, train
from flows.tools.heads_windows import drawn, excerpt, make_windows, performances, read_performed

OF_RENDERS = ("bwv_866", "8-2", "Etudes_op_25/1", "Transcendental_Etudes/11")
RECORDING_S = {CHECK: 120.0, TEST: 45.0}  # levels differ little within less
SEED_OF_TEST = 2  # recordings of seed 1 were looked at while earlier heads were made


def recordings(
    midi: Path, out: Path, part: str, num: int, without: Sequence[str] = OF_RENDERS, seed: int = 1
) -> list[Path]:
    """Write recordings of a part's pieces on its pianos, and the truth beside them: `name.flac` and `name.mid`.

    Performances are as they were played. What is there already stays.
    """
    import soundfile

    out.mkdir(parents=True, exist_ok=True)
    files, names, written = performances(midi, part, without), pianos(part), []
    for number in range(num):
        rng = np.random.default_rng([seed, number])
        piano, path = names[number % len(names)], drawn(rng, files)
        target = out / f"{number:02d}-{Path(piano.split(':')[1]).stem}-{path.parent.name}.flac"
        written.append(target)
        if target.exists():
            continue
        performed = read_performed(path)
        start_s = float(rng.uniform(0, max(0.1, performed.duration_s - RECORDING_S[part])))
        played = excerpt(performed, start_s, min(RECORDING_S[part], performed.duration_s))
        write_whole(target.with_suffix(".mid"), midi_bytes(performance_of(played)))
        partial = target.with_name(f"{target.stem}.partial.flac")
        soundfile.write(partial, record(rng, play(rng, piano, played)), SAMPLE_RATE)
        partial.rename(target)
    return written


def strikes_of(heads: Heads, audio: Sequence[Path]) -> np.ndarray:
    """What `fit_scale` takes, of recordings with the truth beside them."""
    model: Any = backends.load(TranscribeConfig(heads=False), Compute("cpu", "bfloat16", num_threads=1))
    model.heads = heads
    rows = []
    for path in audio:
        decoder, true = model.decoder(), read_midi(path.with_suffix(".mid")).notes
        with AudioReader(path, model.sample_rate, model.num_channels) as reader:
            for piece in pieces_of(model, path, reader.blocks):
                if piece.window is not None:
                    decoder.add(model.infer(piece.window[None].copy())[0])
        for onset_s, pitch, *heard in decoder.strikes():
            away = [(abs(note.onset_s - onset_s), note.velocity) for note in true if note.pitch == pitch]
            if away and min(away)[0] < ONSET_TOLERANCE_S:
                rows.append((*heard, min(away)[1]))
    return np.array(rows, np.float64)


def performance_of(played: Played) -> Performance:
    """What was played, with the pedal down or up and nothing between."""
    is_down = np.diff((played.positions >= DOWN).astype(int), prepend=0)
    times = np.append(played.times_s, played.duration_s)
    downs, ups = times[:-1][is_down == 1], times[:-1][is_down == -1]
    pedals = [Pedal(*each) for each in zip(downs.tolist(), [*ups.tolist(), played.duration_s], strict=False)]
    notes = [
        Note(note.onset_s, min(note.offset_s, played.duration_s), note.pitch, note.velocity) for note in played.notes
    ]
    return Performance([note for note in notes if note.onset_s < played.duration_s], pedals)


def _make_some(arguments: tuple[argparse.Namespace, str, int, int]) -> list[Path]:
    options, part, num, first = arguments
    torch.set_num_threads(1)
    return list(make_windows(options.midi, options.out, part, num, options.seed, options.without, options.jobs, first))


def windows(options: argparse.Namespace, part: str, num: int) -> list[Example]:
    """Make what is missing, in as many processes as asked for, and read it."""
    tasks = [(options, part, num, first) for first in range(options.jobs)]
    with get_context("spawn").Pool(options.jobs) as pool:
        paths = sorted(path for some in pool.map(_make_some, tasks) for path in some)
    print(f"{part}: {len(paths)} windows of 16 s", flush=True)
    return load_examples(paths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("midi", type=Path, help="a folder of performances")
    parser.add_argument("--out", type=Path, default=Path("build/heads"))
    parser.add_argument("--num", type=int, default=450, help="windows to train on")
    parser.add_argument(
        "--num-check", type=int, default=10, help="recordings of 2 minutes that the scale of velocities is fitted to"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes that make windows; each needs 2 GB")
    parser.add_argument("--without", nargs="*", default=list(OF_RENDERS), help="pieces to leave out, by their folders")
    parser.add_argument(
        "--held-out", type=int, default=0, help="also write so many recordings to judge by, below --out"
    )
    options = parser.parse_args()
    if lacking := [*missing(TRAIN), *missing(CHECK)]:
        print(
            f"not here, so the weights will be other ones than those that are shipped: {', '.join(lacking)}", flush=True
        )
    if options.held_out:
        recordings(options.midi, options.out / "held_out", TEST, options.held_out, options.without, SEED_OF_TEST)
    examples = windows(options, TRAIN, options.num)
    torch.set_num_threads(1)  # as many everywhere, so that sums are rounded alike
    torch.manual_seed(options.seed)
    heads = Heads()
    for name in LOSSES:
        train(heads, name, examples, EPOCHS[name], options.seed, lambda line: print(line, flush=True))
    chosen_by = recordings(options.midi, options.out / "check", CHECK, options.num_check, options.without)
    print(fit_scale(heads, strikes_of(heads, chosen_by)))
    write_whole(options.out / "transkun_heads.npz", heads.to_bytes())
    print(f"{options.out / 'transkun_heads.npz'}: copy it to aria_data/transcribe/backends to use it.")
    print("The hash of the one before goes into transkun.EARLIER_HEADS: what it transcribed then stands.")


if __name__ == "__main__":
    main()
