"""Score alignment on real performances: beats against annotations, wrong scores rejected, time.

    python benchmarks/alignment.py ASAP_FOLDER [--performances 40] [--half report] [--cache FOLDER]

ASAP_FOLDER holds `<composer>/.../<piece>/` with `<performer>.mid`, `<performer>_annotations.txt` and `midi_score.mid`
or `xml_score.musicxml` (github.com/fosfrancesco/asap-dataset, CC BY-NC-SA 4.0). Pieces are put into two halves by a
hash of their names: thresholds were set on the half `set`, figures are of the half `report`. A random sample of
performances of at most `--max-minutes` is drawn (seed 0). Each is aligned as `aria-data align` does it, without tags,
against the scores of both halves; then against ten scores of other pieces by the same composer, one at a time; then an
excerpt of 60 s the same way. A beat within 70 ms of an annotated one is right (mir_eval's default).
All beats count, also those of the first 5 s.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import mir_eval
import numpy as np

from aria_data.align import Alignment, NotAligned, Score, ScoreIndex, align, read_scores
from aria_data.align.score_index import ScoreCandidate
from aria_data.midi import Note, read_midi

NUM_WRONG = 10
EXCERPT_S = 60.0


@dataclass
class Figures:
    beat_f1: list[float] = field(default_factory=list)
    downbeat_f1: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    num: int = 0
    num_other: int = 0  # aligned with a score of another piece


def piece_of(name: str) -> str:
    """A piece's folder, whatever its score's unfolding."""
    return re.sub(r"_no(_\d+)?_repeat$", "", name.rsplit("/", 1)[0])


def half_of(name: str) -> str:
    return ("set", "report")[int(hashlib.sha256(piece_of(name).encode()).hexdigest(), 16) % 2]


def annotated(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    downbeats = [float(row[0]) for row in rows if row[2].startswith("db")]
    return np.array([float(row[0]) for row in rows]), np.array(downbeats)


def drawn(folder: Path, half: str, num: int, max_s: float) -> list[str]:
    found = [path for path in folder.rglob("*.mid") if path.with_name(f"{path.stem}_annotations.txt").exists()]
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    names = [name for name in names if half in ("both", half_of(name))]
    random.Random(0).shuffle(names)
    short = (name for name in names if read_midi(folder / name).end_s <= max_s)
    return [name for name, _ in zip(short, range(num), strict=False)]


def judge(
    name: str, notes: list[Note], truth: tuple[np.ndarray, np.ndarray], index: ScoreIndex, figures: Figures
) -> str:
    started = time.process_time()
    found = align(notes, index.candidates(np.array([note.pitch for note in notes])))
    figures.seconds += time.process_time() - started
    figures.num += 1
    if isinstance(found, NotAligned):
        figures.reasons[found.reason] += 1
        return f"{name}: {found.reason} {found.measured:.3f}"
    if piece_of(found.score.score_id) != piece_of(name):
        figures.num_other += 1
    figures.beat_f1.append(f_measure(truth[0], found, False, notes))
    figures.downbeat_f1.append(f_measure(truth[1], found, True, notes))
    return (
        f"{name}: {found.score.score_id.rsplit('/', 1)[1]} beats {figures.beat_f1[-1]:.3f} downbeats "
        f"{figures.downbeat_f1[-1]:.3f} score_match {found.score_match:.3f} "
        f"confidence {found.alignment_confidence:.3f} stretches {len(found.path.stretches)}"
    )


def f_measure(truth: np.ndarray, found: Alignment, only_downbeats: bool, notes: list[Note]) -> float:
    beats = [beat.time_s for beat in found.beats if beat.is_downbeat or not only_downbeats]
    inside = (truth >= notes[0].onset_s - 0.07) & (truth <= notes[-1].onset_s + 0.07)
    return float(mir_eval.beat.f_measure(truth[inside], np.array(beats))) if beats else 0.0


def judge_wrong(name: str, notes: list[Note], scores: list[Score], figures: Figures) -> None:
    composer = name.split("/")[0]
    others = [each for each in scores if each.score_id.startswith(f"{composer}/")]
    others = [each for each in others if piece_of(each.score_id) != piece_of(name)]
    for score in random.Random(name).sample(others, min(NUM_WRONG, len(others))):
        found = align(notes, [ScoreCandidate(score, 0, False)])
        figures.wrong["accepted" if isinstance(found, Alignment) else found.reason] += 1
        if isinstance(found, Alignment):
            print(f"  WRONG {score.score_id}: {found.score_match:.3f} {found.alignment_confidence:.3f}", flush=True)


def report(title: str, figures: Figures) -> None:
    aligned, num_wrong = len(figures.beat_f1), sum(figures.wrong.values())
    print(f"\n{title}: {figures.num} performances")
    print(f"  aligned                  {aligned / max(figures.num, 1):.3f}   not: {dict(figures.reasons)}")
    print(f"  with another piece       {figures.num_other}")
    for label, values in (("beat F1", figures.beat_f1), ("downbeat F1", figures.downbeat_f1)):
        low = np.percentile(values, [5, 50]) if values else [0, 0]
        print(f"  {label:24} mean {np.mean(values):.4f}   5 % below {low[0]:.3f}   median {low[1]:.3f}")
    accepted = figures.wrong["accepted"]
    share = accepted / max(num_wrong, 1)
    print(f"  wrong scores accepted    {accepted} of {num_wrong} ({share:.2%})   {dict(figures.wrong)}")
    print(f"  minutes a 1,000 segments {figures.seconds / max(figures.num, 1) * 1000 / 60:.1f} (processor time)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--performances", type=int, default=40)
    parser.add_argument("--max-minutes", type=float, default=6.0)
    parser.add_argument("--half", choices=["set", "report", "both"], default="report")
    parser.add_argument("--cache", type=Path, help="A folder that keeps what was read of the scores.")
    options = parser.parse_args()
    started = time.perf_counter()
    found = read_scores(options.folder, options.cache, lambda path: path.stem in ("midi_score", "xml_score"))
    scores = [score for _, score in found if isinstance(score, Score)]
    index = ScoreIndex(scores)
    print(f"{len(scores)} scores read and indexed in {time.perf_counter() - started:.0f} s", flush=True)
    whole, excerpts = Figures(), Figures()
    for name in drawn(options.folder, options.half, options.performances, options.max_minutes * 60):
        notes, truth = (
            sorted(read_midi(options.folder / name).notes),
            annotated((options.folder / name).with_name(f"{Path(name).stem}_annotations.txt")),
        )
        print(judge(name, notes, truth, index, whole), flush=True)
        judge_wrong(name, notes, scores, whole)
        start = notes[0].onset_s + random.Random(name).random() * max(0.0, notes[-1].onset_s - EXCERPT_S)
        excerpt = [note for note in notes if start <= note.onset_s < start + EXCERPT_S]
        if len(excerpt) >= 30:
            print("  excerpt " + judge(name, excerpt, truth, index, excerpts), flush=True)
            judge_wrong(name, excerpt, scores, excerpts)
    report("whole performances", whole)
    report(f"excerpts of {EXCERPT_S:.0f} s", excerpts)


if __name__ == "__main__":
    main()
