"""The table of docs/pruning-benchmark.md: which files to train on, at the same compute. Everybody can add to it.

    python benchmarks/pruning_table.py files ASAP_FOLDER FOLDER       the files of the benchmark, as links
    python benchmarks/pruning_table.py add OUT/comparison.json --by NAME --commit COMMIT
    python benchmarks/pruning_table.py show                           write the table into the page

`aria-data compare FOLDER ... --out OUT` (the page has the whole command) trains. `add` puts its lines into
docs/pruning-benchmark.csv, in place of lines of the same name, and refuses a comparison by another protocol: other
files, tests, tokens or steps.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path
from typing import Any

from aria_data.errors import UsageError
from aria_data.pruning.random_keys import random_keys
from aria_data.storage import printable, write_whole

DOCS = Path(__file__).resolve().parents[1] / "docs"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
NUM_FILES = 250
PROTOCOL = {"num_steps": 200, "test_share": 0.2, "split_seed": 0}  # of `CompareConfig`
DATA_SHA256 = "1931431be23790a0c5b3e0be291d6b9da353987b268d5a67f9632475ec0da2d8"  # `about.data_sha256` of these files
COLUMNS = (
    *("name", "num_files", "share", "trainings", "loss", "minus_random", "low", "high", "verdict"),
    *("distance", "distance_minus_random", "by", "commit"),
)


def draw_files(asap: Path, folder: Path) -> int:
    """Link the files of the benchmark into a folder, each piece in its own: gives how many there are."""
    found = (path for path in asap.rglob("*.mid") if path.stem != "midi_score")
    names = sorted(path.relative_to(asap).as_posix() for path in found)
    chosen = [name for _, name in sorted(zip(random_keys(names, "files").tolist(), names, strict=True))][:NUM_FILES]
    for name in chosen:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to((asap / name).resolve())
    return len(chosen)


def lines_of(comparison: dict[str, Any], by: str, commit: str) -> list[dict[str, str]]:
    """The lines of a comparison. Raises `UsageError` for another protocol than the page's."""
    about = comparison["about"]
    config = about["config"]
    given = {name: config[name] for name in PROTOCOL} | {"data_sha256": about["data_sha256"]}
    for name, value in (PROTOCOL | {"data_sha256": DATA_SHA256}).items():
        if given[name] != value:
            raise UsageError(
                f"{name} is {given[name]}, and the benchmark has {value}. Follow docs/pruning-benchmark.md."
            )
    return [_line(row, by, commit) for row in comparison["rows"]]


def _line(row: dict[str, Any], by: str, commit: str) -> dict[str, str]:
    apart, distance = row["against_random"], row["distance_against_random"]
    numbers = {
        "share": row["fraction"],
        "loss": row["loss"]["mean"],
        "minus_random": apart and apart["mean"],
        "low": apart and apart["low"],
        "high": apart and apart["high"],
        "distance": row["distance"],
        "distance_minus_random": distance and distance["mean"],
    }
    said = {name: "" if value is None else f"{value:.6f}" for name, value in numbers.items()}
    return said | {
        "name": printable(row["name"]),
        "num_files": str(row["num_files"]),
        "trainings": str(row["num_trainings"]),
        "verdict": _verdict(apart),
        "by": printable(by),
        "commit": printable(commit),
    }


def _verdict(apart: dict[str, Any] | None) -> str:
    if apart is None or apart["low"] is None:
        return ""
    return "better" if apart["high"] < 0 else "worse" if apart["low"] > 0 else "no difference"


def read_lines(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))) if path.is_file() else []


def merged(before: list[dict[str, str]], new: list[dict[str, str]]) -> list[dict[str, str]]:
    """New lines in place of those of the same name; by share, then from the lowest loss."""
    names = {line["name"] for line in new}
    kept = [line for line in before if line["name"] not in names]
    return sorted([*kept, *new], key=lambda line: (-float(line["share"]), float(line["loss"]), line["name"]))


def save_lines(path: Path, lines: list[dict[str, str]]) -> None:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_whole(path, out.getvalue().encode())


def table_of(lines: list[dict[str, str]]) -> str:
    """The lines as the page has them."""
    header = ("trained on", "files", "trainings", "test loss", "minus random files (95 %)", "distance", "by")
    rows = [header, ("---",) * len(header), *(_cells(line) for line in lines)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _cells(line: dict[str, str]) -> tuple[str, ...]:
    apart = ""
    if line["minus_random"]:
        numbers = [float(line[name]) for name in ("minus_random", "low", "high")]
        apart = "{:+.3f} ({:+.3f} to {:+.3f}): {}".format(*numbers, line["verdict"])
    near = f"{float(line['distance']):.3f}" if line["distance"] else ""
    if line["distance_minus_random"]:
        near += f" ({float(line['distance_minus_random']):+.3f})"
    loss = f"{float(line['loss']):.3f}"
    return line["name"], line["num_files"], line["trainings"], loss, apart, near, f"{line['by']}, {line['commit']}"


def page_with(page: str, lines: list[dict[str, str]]) -> str:
    """The page with this table between its marks."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table_of(lines)}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    files = commands.add_parser("files")
    files.add_argument("asap", type=Path)
    files.add_argument("folder", type=Path)
    add = commands.add_parser("add")
    add.add_argument("comparison", type=Path)
    add.add_argument("--by", required=True)
    add.add_argument("--commit", required=True)
    commands.add_parser("show")
    given = parser.parse_args()
    lines = read_lines(DOCS / "pruning-benchmark.csv")
    if given.command == "files":
        print(f"{draw_files(given.asap, given.folder)} files in {given.folder}")
        return
    if given.command == "add":
        lines = merged(lines, lines_of(json.loads(given.comparison.read_text()), given.by, given.commit))
        save_lines(DOCS / "pruning-benchmark.csv", lines)
    page = DOCS / "pruning-benchmark.md"
    write_whole(page, page_with(page.read_text(encoding="utf-8"), lines).encode())
    print(table_of(lines))


if __name__ == "__main__":
    main()
