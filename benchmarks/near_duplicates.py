"""Recall and precision of finding copies of performances, and the time by the number of performances.

    python benchmarks/near_duplicates.py FOLDER_OF_MIDI [--sizes 1000 10000 100000] [--keep-one-in 4]
    python benchmarks/near_duplicates.py [FOLDER_OF_MIDI] --audio FOLDER

FOLDER_OF_MIDI holds performances (`composer/piece/performer.mid`; any depth). For each kind of change, a changed copy
of every performance is added to the originals; recall is the share of copies found with their original, precision
the share of found pairs that are one performance. Other performances of a piece and transposed ones must not be found.
Then files are recombined from the performances, so that none is a copy of another, and the time for each size is
measured, with an exponent fitted to it; at the smallest size all pairs are compared as well.

With `--audio`, every recording in FOLDER (any depth) is changed as copies are, and looked up by its fingerprint; with
FOLDER_OF_MIDI as well, performances of the same pieces are rendered with plain tones, and must not be found.
"""

from __future__ import annotations

import argparse
import io
import itertools
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from aria_data.audio import mono_blocks
from aria_data.deduplicate import NoteIndex, fingerprints
from aria_data.deduplicate.fingerprints import SAMPLE_RATE
from aria_data.deduplicate.note_matching import compare as note_compare
from aria_data.deduplicate.note_matching import is_same
from aria_data.deduplicate.note_patterns import NoteIndexConfig, Notes
from aria_data.errors import MidiUnreadable
from aria_data.midi import read_midi

Timed = tuple[np.ndarray, np.ndarray]  # onsets in seconds, pitches
Change = Callable[[Timed, np.random.Generator], Timed]
CHUNK_S, NUM_CHUNKS = 12.0, 4  # of a recombined file
NUM_PLANTED = 200  # copies hidden among the recombined files


def on_grid(step_s: float) -> Change:
    return lambda timed, rng: (np.round(timed[0] / step_s) * step_s, timed[1])


def trimmed(timed: Timed, rng: np.random.Generator) -> Timed:
    """Take 10 to 25 % away at both ends, and begin at 0."""
    onsets, pitches = timed
    length_s = onsets[-1] - onsets[0]
    low = onsets[0] + rng.uniform(0.1, 0.25) * length_s
    is_in = (onsets >= low) & (onsets <= onsets[-1] - rng.uniform(0.1, 0.25) * length_s)
    return onsets[is_in] - low, pitches[is_in]


def excerpt(seconds: float) -> Change:
    def change(timed: Timed, rng: np.random.Generator) -> Timed:
        onsets, pitches = timed
        start = rng.uniform(onsets[0], max(onsets[0], onsets[-1] - seconds))
        is_in = (onsets >= start) & (onsets <= start + seconds)
        return onsets[is_in] - start, pitches[is_in]

    return change


def shifted(timed: Timed, rng: np.random.Generator) -> Timed:
    return timed[0] + rng.uniform(0.1, 30), timed[1]


def faster(share: float) -> Change:
    return lambda timed, rng: (timed[0] / (1 + share), timed[1])


def transposed(semitones: int) -> Change:
    return lambda timed, rng: (timed[0], np.clip(timed[1] + semitones, 0, 127))


def errors(missed: float, added: float, wrong: float, jitter_s: float = 0.0, lag_s: float = 0.0) -> Change:
    """Drop, add and change shares of the notes; pitches added or wrong are an octave, a fifth or a step away."""

    def change(timed: Timed, rng: np.random.Generator) -> Timed:
        onsets, pitches = timed
        away = rng.choice([-12, -7, -2, -1, 1, 2, 7, 12, 19], len(onsets))
        pitches = np.where(rng.random(len(onsets)) < wrong, pitches + away, pitches)
        is_extra, is_kept = rng.random(len(onsets)) < added, rng.random(len(onsets)) >= missed
        extra = onsets[is_extra] + rng.normal(0, 0.1, is_extra.sum())
        both = np.concatenate([onsets[is_kept], extra]), np.concatenate([pitches[is_kept], (pitches + away)[is_extra]])
        moved = np.maximum(0, both[0] + lag_s + rng.normal(0, jitter_s, len(both[0])))
        order = np.argsort(moved, kind="stable")
        return moved[order], np.clip(both[1], 21, 108)[order]

    return change


def one_after_another(*changes: Change) -> Change:
    def change(timed: Timed, rng: np.random.Generator) -> Timed:
        for each in changes:
            timed = each(timed, rng)
        return timed

    return change


OTHER_TRANSCRIBER = errors(0.06, 0.06, 0.02, jitter_s=0.012, lag_s=0.015)  # an onset F1 of about 0.93
COPIES = {
    "written again, 1 ms": on_grid(0.001),
    "quantised to 20 ms": on_grid(0.02),
    "quantised to 50 ms": on_grid(0.05),
    "trimmed at both ends": trimmed,
    "excerpt of 60 s": excerpt(60),
    "excerpt of 20 s": excerpt(20),
    "shifted": shifted,
    "3 % faster": faster(0.03),
    "3 % slower": faster(-0.03),
    "5 % of notes changed": errors(0.02, 0.015, 0.015),
    "another transcriber": OTHER_TRANSCRIBER,
    "a bad transcriber": errors(0.15, 0.15, 0.03, jitter_s=0.02),
    "most at once": one_after_another(trimmed, shifted, faster(0.03), OTHER_TRANSCRIBER),
}
OTHERS = {f"transposed by {by:+}": transposed(by) for by in (-12, -1, 1, 2, 12)}


def read_folder(folder: Path, most: int) -> dict[str, Timed]:
    """Read the performances of some pieces, all of each piece, until there are `most`."""
    found: dict[str, Timed] = {}
    pieces = sorted({path.parent for path in folder.rglob("*.mid")})
    random.Random(0).shuffle(pieces)
    for piece in pieces:
        for path in sorted(piece.glob("*.mid")) if len(found) < most else ():
            try:
                notes, name = read_midi(path).notes, str(path.relative_to(folder))
            except MidiUnreadable as error:
                print(f"{error} It is left out.", file=sys.stderr)
                continue
            found[name] = np.array([n.onset_s for n in notes]), np.array([n.pitch for n in notes])
    return found


def report_kinds(performances: dict[str, Timed], config: NoteIndexConfig, only: list[str]) -> None:
    print(f"{len(performances)} performances, {sum(len(each[0]) for each in performances.values())} notes", flush=True)
    print(f"{'change':26}{'recall':>8}{'precision':>10}{'false':>7}   lowest agreement, highest drift ms, no candidate")
    originals = [(name, Notes.of(*timed)) for name, timed in performances.items()]
    all_found, all_true, all_planted = 0, 0, 0
    kinds: dict[str, Change | None] = {"none": None, **COPIES, **OTHERS}
    for kind, change in kinds.items():
        if not any(word in kind for word in only):
            continue
        rng = np.random.default_rng(0)
        index = NoteIndex(config)
        index.add(originals)
        if change:
            index.add((f"{name} | copy", Notes.of(*change(timed, rng))) for name, timed in performances.items())
        ids = index.ids
        pairs = index.candidates(num_known=len(originals) if change else 0)
        matches = {(ids[one], ids[other]): index.compare(ids[one], ids[other]) for one, other in pairs}
        found = {pair for pair, match in matches.items() if is_same(match, config)}
        planted = {(name, f"{name} | copy") for name in performances} if kind in COPIES else set()
        agreements = [matches[pair].agreement for pair in planted if pair in matches]
        drifts = [1000 * matches[pair].drift_s for pair in planted if pair in matches]
        all_found += len(found)
        all_true += len(found & planted)
        all_planted += len(planted)
        if planted:
            line = f"{len(found & planted) / len(planted):8.4f}{len(found & planted) / max(1, len(found)):10.4f}"
            line += (
                f"{len(found - planted):7}   {min(agreements):.3f} {max(drifts):8.1f} {len(planted - set(matches)):5}"
            )
        else:
            near = [each for each in matches.values() if each.agreement >= config.min_agreement and each.coverage > 0.5]
            line = f"{'':18}{len(found):7}   "
            line += f"agree: {len(near)}, their lowest drift ms: {1000 * min((e.drift_s for e in near), default=0):.1f}"
        print(f"{kind:26}{line}", flush=True)
        for pair in sorted(found - planted)[:5]:
            print(f"    false: {pair[0]} = {pair[1]}: {matches[pair]}")
    print(f"all: precision {all_true / max(1, all_found):.4f}, recall {all_true / max(1, all_planted):.4f}")


def recombined(performances: list[Timed], rng: np.random.Generator) -> Timed:
    """Join chunks of several performances, each transposed and with a rubato of its own: a copy of none."""
    onsets, pitches = [], []
    for number in range(NUM_CHUNKS):
        there, pitch = performances[rng.integers(len(performances))]
        start = rng.uniform(there[0], max(there[0] + 1, there[-1] - CHUNK_S))
        low, high = np.searchsorted(there, [start, start + CHUNK_S])
        beats = np.cumsum(rng.lognormal(0, 0.2, 2 * round(CHUNK_S)))  # of half a second, each of another length
        knots = np.concatenate([[0], beats / beats[-1] * CHUNK_S])
        played = np.interp(there[low:high] - start, np.arange(len(knots)) / 2, knots)
        onsets.append(number * CHUNK_S + played)
        pitches.append(np.clip(pitch[low:high] + rng.integers(-6, 6), 21, 108))
    both = np.concatenate(onsets), np.concatenate(pitches)
    order = np.argsort(both[0], kind="stable")
    tempo = rng.uniform(0.8, 1.25)
    return both[0][order] * tempo, both[1][order]


def report_growth(performances: dict[str, Timed], sizes: list[int], config: NoteIndexConfig) -> None:
    sources = list(performances.values())
    change = COPIES["most at once"]
    print("\nall times are processor seconds")
    print("   files  notes/file  bytes/file   add s candidates s   compare s    pairs  found   recall  peak GB")
    rows = []
    for size in sizes:
        rng = np.random.default_rng(size)
        index = NoteIndex(config)
        add_s, num_notes = 0.0, 0
        for start in range(0, size, 5000):
            made = [recombined(sources, rng) for _ in range(start, min(size, start + 5000))]
            num_notes += sum(len(each[0]) for each in made)
            files = [(f"{start + number}", Notes.of(*timed)) for number, timed in enumerate(made)]
            if start == 0:
                files += [(f"{i} | copy", Notes.of(*change(made[i], rng))) for i in range(min(size, NUM_PLANTED))]
            began = time.process_time()
            index.add(files)
            add_s += time.process_time() - began
        began = time.process_time()
        pairs = index.candidates()
        candidates_s = time.process_time() - began
        ids = index.ids
        began = time.process_time()
        found = {(ids[a], ids[b]) for a, b in pairs if is_same(index.compare(ids[a], ids[b]), config)}
        compare_s = time.process_time() - began
        planted = {(f"{i}", f"{i} | copy") for i in range(min(size, NUM_PLANTED))}
        rows.append((len(index), add_s + candidates_s + compare_s))
        print(
            f"{len(index):8}{num_notes / size:12.0f}{index.num_bytes / len(index):12.0f}{add_s:9.1f}"
            f"{candidates_s:13.1f}{compare_s:12.1f}{len(pairs):9}{len(found):7}"
            f"{len(found & planted) / len(planted):9.3f}"
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:9.1f}",
            flush=True,
        )
        if size == sizes[0]:
            report_all_pairs(index, found, rows[0][1])
    for name, some in (("all sizes", rows), ("the last two", rows[-2:])):
        if len(rows) > 1:
            slope = np.polyfit(np.log([row[0] for row in some]), np.log([row[1] for row in some]), 1)[0]
            print(f"time grows as files^{slope:.2f} ({name}; all pairs: 2)")


def report_all_pairs(index: NoteIndex, found: set[tuple[str, str]], index_s: float) -> None:
    """The peer: the same comparison of every pair, without candidates."""
    began = time.process_time()
    pairs = itertools.combinations(index.ids, 2)
    same = {pair for pair in pairs if is_same(index.compare(*pair), index.config)}
    seconds = time.process_time() - began
    print(
        f"    all pairs of {len(index)}: {seconds:.1f} s, {seconds / index_s:.0f} times the index, finds {len(same)}",
        end="",
    )
    print(f", {len(same - found)} of them not by the index", flush=True)


def as_mp3(waveform: np.ndarray) -> np.ndarray:
    """Encode at 64 kbit/s and decode, the encoder's delay included."""
    import av
    import soxr

    sound = soxr.resample(waveform, SAMPLE_RATE, 44_100).astype(np.float32)
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as container:
        stream = container.add_stream("libmp3lame", rate=44_100, layout="mono", options={"b": "64000"})
        frame = av.AudioFrame.from_ndarray(sound[None], "fltp", "mono")
        frame.sample_rate = 44_100
        for piece in av.AudioResampler(stream.format, "mono", 44_100, stream.frame_size or None).resample(frame):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as container:
        decoded = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    return soxr.resample(decoded, 44_100, SAMPLE_RATE).astype(np.float32)


def resampled(share: float) -> Callable[[np.ndarray], np.ndarray]:
    import soxr

    return lambda waveform: soxr.resample(waveform, SAMPLE_RATE * (1 + share), SAMPLE_RATE).astype(np.float32)


def in_noise(waveform: np.ndarray) -> np.ndarray:
    added = np.random.default_rng(0).normal(0, waveform.std() / 10, len(waveform))  # 20 dB below
    return (waveform + added).astype(np.float32)


SOUND_COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mp3 at 64 kbit/s": as_mp3,
    "20 dB quieter": lambda waveform: waveform / 10,
    "trimmed at both ends": lambda waveform: waveform[len(waveform) // 7 : -len(waveform) // 6],
    "1 % faster": resampled(0.01),
    "1 % slower": resampled(-0.01),
    "noise at 20 dB": in_noise,
    "all at once": lambda waveform: in_noise(resampled(0.01)(as_mp3(waveform)[len(waveform) // 7 :])) / 3,
}


def sounded(timed: Timed, seconds: float = 90.0) -> np.ndarray:
    """Render the beginning of a performance with decaying tones of five harmonics."""
    waveform = np.zeros(round((seconds + 2) * SAMPLE_RATE), np.float32)
    times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for onset, pitch in zip(timed[0] - timed[0][0], timed[1], strict=True):
        if onset < seconds:
            hertz = 440 * 2 ** ((pitch - 69) / 12) * np.arange(1, 6)
            tone = (np.sin(2 * np.pi * hertz[:, None] * times) / np.arange(1, 6)[:, None] ** 1.5).sum(axis=0)
            start = round(onset * SAMPLE_RATE)
            waveform[start : start + SAMPLE_RATE] += (0.05 * tone * np.exp(-4 * times)).astype(np.float32)
    return waveform


def report_audio(folder: Path, performances: dict[str, Timed], only: list[str]) -> None:
    sounds = {}
    for path in sorted(each for each in folder.rglob("*") if each.suffix in (".ogg", ".mp3", ".flac", ".wav")):
        waveform = np.concatenate([np.zeros(0, np.float32), *mono_blocks(path, SAMPLE_RATE)])
        if len(waveform) >= 25 * SAMPLE_RATE:
            sounds[str(path.relative_to(folder))] = waveform
    began = time.process_time()
    originals = {name: fingerprints.fingerprint([waveform]) for name, waveform in sounds.items()}
    seconds = time.process_time() - began
    total_s = sum(len(each) for each in sounds.values()) / SAMPLE_RATE
    num_bytes = sum(len(fingerprints.to_bytes(each)) for each in originals.values())
    print(f"\n{len(sounds)} recordings, {total_s:.0f} s; {num_bytes / total_s * 60:.0f} bytes a minute; ", end="")
    print(f"{total_s / seconds:.0f} x real time on one core")
    print(f"{'change':26}{'recall':>8}{'false':>7}   lowest agreement, highest drift ms")
    for kind, change in SOUND_COPIES.items():
        if not any(word in kind for word in only):
            continue
        index = NoteIndex(fingerprints.CONFIG)
        index.add(originals.items())
        index.add((f"{name} | copy", fingerprints.fingerprint([change(each)])) for name, each in sounds.items())
        found = {tuple(sorted(pair[:2])) for pair in index.matches(num_known=len(originals))}
        planted = {(name, f"{name} | copy") for name in sounds}
        matches = [index.compare(*pair) for pair in planted]
        print(
            f"{kind:26}{len(found & planted) / len(planted):8.3f}{len(found - planted):7}   "
            f"{min(each.agreement for each in matches):.3f} {1000 * max(each.drift_s for each in matches):8.1f}",
            flush=True,
        )
    several = [name for name in performances if sum(Path(n).parent == Path(name).parent for n in performances) > 1]
    rendered = {name: fingerprints.fingerprint([sounded(performances[name])]) for name in several[:40]}
    pairs = [
        note_compare(one, other, fingerprints.CONFIG)
        for one, other in itertools.combinations({**originals, **rendered}.values(), 2)
    ]
    num_found = sum(is_same(each, fingerprints.CONFIG) for each in pairs)
    print(
        f"{len(rendered)} rendered performances of pieces played by several, and the originals: of {len(pairs)} pairs ",
        end="",
    )
    print(f"{num_found} found; highest agreement {max(each.agreement for each in pairs if each.coverage > 0.5):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--sizes", type=int, nargs="*", default=[])
    parser.add_argument("--most", type=int, default=1000, help="performances")
    parser.add_argument("--keep-one-in", type=int, default=NoteIndexConfig.keep_one_in)
    parser.add_argument(
        "--only", nargs="*", default=[""], help="kinds of change whose name holds one of these; or none"
    )
    parser.add_argument("--audio", type=Path)
    arguments = parser.parse_args()
    if not (arguments.folder or arguments.audio):
        parser.error("name a folder of .mid files, or --audio with a folder of recordings")
    performances = read_folder(arguments.folder, arguments.most) if arguments.folder else {}
    if arguments.folder and not performances:
        sys.exit(f"{arguments.folder}: holds no .mid files")
    config = NoteIndexConfig(keep_one_in=arguments.keep_one_in)
    if arguments.audio:
        report_audio(arguments.audio, performances, arguments.only)
    elif arguments.only:
        report_kinds(performances, config, arguments.only)
    if arguments.sizes:
        report_growth(performances, arguments.sizes, config)


if __name__ == "__main__":
    main()
