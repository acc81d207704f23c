"""Accuracy of the annotation rules on real titles: composer, catalogue number, clustering by `composition_id`.

    python benchmarks/annotate_titles.py TITLES.csv [--show 20] [--held-out]

The CSV has the columns `title, performer, composer, composition_id`; equal ids are the same movement or piece.
Each title is annotated twice: alone, and as "performer - composer: title". There are no true catalogue numbers, so a
number counts as right where most titles of the same composition have it.

`--held-out` annotates each composer's titles ("composer: title") without that composer's entries in `works.toml` and
`opuses.toml`. It estimates the accuracy for composers that the tables do not cover.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from unittest.mock import patch

from aria_data.annotate import annotate
from aria_data.records import Annotation
from aria_data.repertoire import find_composer, opuses, work_names
from aria_data.text import fold

WRITTEN = re.compile(
    r"\b(?:op\.? ?\d|bwv ?\d|hwv ?\d|k\.? ?\d|kv ?\d|hob|l\.? ?\d|s\.? ?\d|d\.? ?\d|m\.? ?\d|woo ?\d)", re.I
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("titles", help="CSV with title, performer, composer, composition_id")
    parser.add_argument(
        "--held-out", action="store_true", help="read each composer's titles without what is known of them"
    )
    parser.add_argument("--show", type=int, default=0, help="print this many errors of each kind")
    arguments = parser.parse_args()
    with open(arguments.titles, encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    print(f"{len(rows)} titles, {len({row['composition_id'] for row in rows})} compositions")
    if arguments.held_out:
        report_held_out(rows, arguments.show)
        return
    for name, texts in (
        ("title alone", [row["title"] for row in rows]),
        ("performer - composer: title", [f"{r['performer']} - {r['composer']}: {r['title']}" for r in rows]),
    ):
        started = time.perf_counter()
        read = [annotate(text) for text in texts]
        took_s = time.perf_counter() - started
        started = time.perf_counter()
        for text in texts:
            find_composer(text)
        composer_s = time.perf_counter() - started
        print(f"\n{name}  ({len(texts) / took_s:.0f} titles/s; its composer alone {len(texts) / composer_s:.0f})")
        report_composers(rows, texts, read, arguments.show)
        report_numbers(rows, texts, read, arguments.show)
        report_clusters(rows, texts, read, arguments.show)
        filled = {
            f: sum(bool(getattr(a, f)) for a in read) / len(read) for f in ("performer", "form", "key", "movement")
        }
        print("  filled: " + ", ".join(f"{field} {share:.1%}" for field, share in filled.items()))


def report_held_out(rows: list[dict], num_shown: int) -> None:
    read: list[Annotation] = []
    rows = sorted(rows, key=lambda row: row["composer"])
    for name in sorted({row["composer"] for row in rows}):
        own = [row for row in rows if row["composer"] == name]
        composer_id = true_composer(name)
        known = {key: value for key, value in work_names._works().items() if key != composer_id}
        tables = {key: value for key, value in opuses._tables().items() if key != composer_id}
        with patch.multiple(work_names, _works=lambda known=known: known):
            opuses_patch = patch.multiple(opuses, _tables=lambda tables=tables: tables)
            work_names._index.cache_clear()
            with opuses_patch:
                found = [annotate(f"{name}: {row['title']}") for row in own]
        print(f"\n{name}: {len(own)} titles")
        report_numbers(own, [row["title"] for row in own], found, 0)
        report_clusters(own, [row["title"] for row in own], found, 0)
        read += found
    work_names._index.cache_clear()
    texts = [row["title"] for row in rows]
    print("\nall, each composer held out")
    report_numbers(rows, texts, read, num_shown)
    report_clusters(rows, texts, read, num_shown)


def report_composers(rows: list[dict], texts: list[str], read: list[Annotation], num_shown: int) -> None:
    truth = [true_composer(row["composer"]) for row in rows]
    is_named = [fold(r["composer"].split()[-1]) in fold(text) for r, text in zip(rows, texts, strict=True)]
    named = [(a.composer_id == t) for a, t, is_in in zip(read, truth, is_named, strict=True) if is_in]
    filled = [(a.composer_id == t) for a, t in zip(read, truth, strict=True) if a.composer_id]
    print(f"  composer: right {share(named)} where named, {share(filled)} where filled")
    faults = [
        f"{a.composer_id!r} for {t!r}: {text}"
        for a, t, text, is_in in zip(read, truth, texts, is_named, strict=True)
        if (is_in or a.composer_id) and a.composer_id != t
    ]
    show(faults, num_shown)


def true_composer(name: str) -> str:
    match = find_composer(name, is_name=True)
    return match.composer_id if match else ""


def report_numbers(rows: list[dict], texts: list[str], read: list[Annotation], num_shown: int) -> None:
    by_work: dict[str, Counter] = defaultdict(Counter)
    for row, a in zip(rows, read, strict=True):
        if a.catalogue:
            by_work[row["composition_id"]][a.catalogue, a.catalogue_number, a.piece_number] += 1
    verdicts, faults = [], []
    for row, text, a in zip(rows, texts, read, strict=True):
        if WRITTEN.search(text):
            expected = by_work[row["composition_id"]].most_common(1)
            number = (a.catalogue, a.catalogue_number, a.piece_number)
            verdicts.append(bool(expected) and number == expected[0][0])
            if not verdicts[-1]:
                faults.append(f"{number} not {expected}: {text}")
    print(f"  catalogue, number, piece: {share(verdicts)} as most of the composition's titles, where written")
    show(faults, num_shown)


def report_clusters(rows: list[dict], texts: list[str], read: list[Annotation], num_shown: int) -> None:
    truth = Counter(row["composition_id"] for row in rows)
    found = Counter(a.composition_id for a in read if a.composition_id)
    both = Counter(
        (row["composition_id"], a.composition_id) for row, a in zip(rows, read, strict=True) if a.composition_id
    )
    num_both = sum(map(num_pairs, both.values()))
    precision = num_both / max(1, sum(map(num_pairs, found.values())))
    recall = num_both / max(1, sum(map(num_pairs, truth.values())))
    print(
        f"  composition_id: pairwise precision {precision:.4f}, recall {recall:.4f}, "
        f"filled {found.total() / len(rows):.1%}"
    )
    examples: dict[str, dict[str, str]] = defaultdict(dict)
    for row, text, a in zip(rows, texts, read, strict=True):
        examples[f"one true id {row['composition_id']}"].setdefault(a.composition_id, text)
        if a.composition_id:
            examples[f"one found id {a.composition_id}"].setdefault(row["composition_id"], text)
    show([f"{name}: {few}" for name, few in examples.items() if len(few) > 1], num_shown)


def num_pairs(count: int) -> int:
    return count * (count - 1) // 2


def share(verdicts: Sequence[bool]) -> str:
    return f"{sum(verdicts) / max(1, len(verdicts)):.2%} ({sum(verdicts)}/{len(verdicts)})"


def show(faults: list[str], num_shown: int) -> None:
    for fault in random.Random(0).sample(faults, min(num_shown, len(faults))):
        print(f"    {fault[:400]}")


if __name__ == "__main__":
    main()
