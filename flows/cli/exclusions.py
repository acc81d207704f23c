"""The command that makes an exclusion list out of a copy of a benchmark: exclude."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from flows.cli.base import DONE, DONE_WITH_FAILURES, Examples, print_json

if TYPE_CHECKING:
    from aria_data.deduplicate import Notes
    from aria_data.release.exclusions import Exclusion, Titled

MIDI_SUFFIXES = (".mid", ".midi")
FILE_COLUMNS = ("midi_filename", "midi_performance", "file", "midi_path")  # MAESTRO's, ASAP's, one's own
TITLE_COLUMNS = ("canonical_title", "title")
COMPOSER_COLUMNS = ("canonical_composer", "composer")
MAX_SHOWN = 5  # titles of which nothing is known
SHORTENED = (  # titles as ASAP writes them: composer and title -> what they stand for
    (r"(.*?)[ _](?:no[ _](?:\w+[ _])?)?(?:repeat|trio)", r"\1"),
    (r"(Haydn: Keyboard)[ _]Sonatas[ _](\d+)-(\d)", r"\1 Sonata Hob. XVI:\2, movement \3"),
    (r"(Schubert: Piano)[ _]Sonatas[ _](\d+)-(\d)", r"\1 Sonata D. \2, movement \3"),
    (r"(\w+: Piano)[ _]Sonatas[ _](\d+)-(\d)(?:[ _]\d)?", r"\1 Sonata No. \2, movement \3"),
    (r"(\w+: Sonata)[ _](\d+)[ _](\d)(?:st|nd|rd|th)", r"\1 No. \2, movement \3"),
    (r"(Chopin: (?:Scherzo|Polonaise))s[ _](\d+)", r"\1, op. \2"),
    (r"(Schubert: Impromptu)[ _]op\.?[ _]?(\d+)(?:[ _]D\.\d+)?[ _](\d)", r"\1, op. \2 no. \3"),
    (r"(Schubert: Moment[ _]Musical)[ _]no[ _](\d)", r"\1 D. 780 no. \2"),
    (r"(Schumann: Kreisleriana)[ _](\d)", r"\1, op. 16 no. \2"),
    (r"(Schumann: Toccata)", r"\1, op. 7"),
    (r"(Prokofiev: Toccata)", r"\1, op. 11"),
    (r"(Liszt: Sonata)", r"\1 in B minor, S. 178"),
    (r"(Liszt:) Gran[ _]Etudes[ _]de[ _]Paganini[ _]6[ _].*", r"\1 Grandes etudes de Paganini, S. 141 no. 6"),
    (r"(\w+: Concert[ _]Etude)[ _]S(\d+)[ _](\d)", r"\1 S. \2 no. \3"),
    (r"(\w+: .*)[ _]op[ _](\d+)[ _](\d+)", r"\1, op. \2 no. \3"),
    (r"(\w+: (?:Transcendental[ _]Etude|Ballade|Sonata))s?[ _](\d+)", r"\1 No. \2"),
    (r"(\w+: Hungarian[ _]Rhapsod)ies[ _](\d+)", r"\1y No. \2"),
    (r"(\w+: Fantasie)[ _](\d+)", r"\1 K. \2"),
)


@click.command(
    cls=Examples,
    examples="""
    aria-data exclude maestro-v3.0.0/ --name maestro --titles maestro-v3.0.0/maestro-v3.0.0.csv --out maestro.json
    aria-data exclude maestro-v3.0.0/ --name maestro --titles maestro.csv --split test --out maestro-test.json
    aria-data exclude asap-dataset/ --name asap --titles asap-dataset/metadata.csv --out asap.json
    aria-data exclude my_benchmark/ --name mine --no-notes --out mine.json
    """,
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What the list is called: a-z, 0-9, dot and hyphen.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The list, a .json file.")
@click.option("--titles", type=click.Path(path_type=Path), help="CSV or JSONL: file, composer, title. See above.")
@click.option("--split", default="", help="Only rows whose column `split` says so.")
@click.option("--notes/--no-notes", default=True, help="Recognise performances by their notes too.")
@click.option("--source", default="", help="Where the benchmark comes from, in words, for those who read the list.")
@click.option("--overwrite", is_flag=True, help="Replace a list that is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def exclude(
    folder: Path,
    name: str,
    out: Path,
    titles: Path | None,
    split: str,
    notes: bool,
    source: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """List what a benchmark holds, to keep it out of training.

    FOLDER is a copy of the benchmark.

    The table of titles may be MAESTRO's maestro-v3.0.0.csv or ASAP's metadata.csv; one of your own has the columns
    file (below FOLDER), composer and title. Without one, the folders that a file lies in are its title, the first
    (or FOLDER itself) its composer; where it lies in fewer than two, its name is part of it.

    With notes, a performance is recognised whatever its title says, and the list holds every note's time and pitch:
    keep to the benchmark's licence when you pass it on. Without, it holds names of compositions alone.
    """
    from aria_data.errors import UsageError
    from aria_data.storage import printable

    if out.exists() and not overwrite:
        raise UsageError(f"--out {printable(str(out))}: is there already. Add --overwrite to replace it.")
    if split and not titles:
        raise UsageError("--split needs --titles: the table says which split a file is in.")
    titled = list(_from_table(folder, titles, split) if titles else _from_paths(folder))
    made = _Making(name, titled, source, _made_from(titles, split, notes))
    exclusion = made.exclusion(notes)
    exclusion.save(out)
    if as_json:
        print_json(_facts(exclusion, out, made))
    else:
        _print(exclusion, out, made)
    for line in made.wrong:
        click.echo(f"aria-data: {line}", err=True)
    sys.exit(DONE_WITH_FAILURES if made.wrong else DONE)


class _Making:
    """One list in the making: what it is made from, which titles name no work, which files could not be read."""

    def __init__(self, name: str, titled: list[Titled], source: str, made_from: str):
        self.name, self.titled, self.source, self.made_from = name, titled, source, made_from
        self.unnamed: list[str] = []
        self.wrong: list[str] = []

    def exclusion(self, with_notes: bool) -> Exclusion:
        from aria_data.release.exclusions import make_exclusion
        from flows import show

        with show.progress() as progress, progress.stage("read", len(self.titled), 0.0, 0):
            every = (self._advanced(one, progress) for one in self.titled)
            read = self._read if with_notes else None
            return make_exclusion(self.name, every, self._composition_of, self.source, self.made_from, read)

    def _advanced(self, one: Titled, progress: Any) -> Titled:
        progress.advance(0.0)
        return one

    def _composition_of(self, one: Titled) -> str:
        from aria_data.annotate import annotate

        found = annotate(one.title, tags={"composer": one.composer} if one.composer else {}).composition_id
        if not found:
            self.unnamed.append(f"{one.composer}: {one.title}")
        return found

    def _read(self, path: Path) -> Notes | None:
        from aria_data.errors import MidiUnreadable
        from aria_data.release.exclusions import notes_in

        try:
            return notes_in(path)
        except MidiUnreadable as error:
            self.wrong.append(f"{error} Its notes are left out.")
            return None


def _from_table(folder: Path, titles: Path, split: str) -> Iterator[Titled]:
    """Yield the rows of a table as performances. Raises `UsageError` for a table that does not say what is needed."""
    from aria_data.errors import UsageError
    from aria_data.release.exclusions import Titled
    from aria_data.storage import printable
    from flows.tools.title_lists import read_rows

    num_rows = 0
    for number, row in enumerate(read_rows(titles, ()), 1):
        file, title, composer = (_first(row, names) for names in (FILE_COLUMNS, TITLE_COLUMNS, COMPOSER_COLUMNS))
        if title is None or (split and row.get("split") is None):
            lacking = "split" if title is not None else " or ".join(TITLE_COLUMNS)
            raise UsageError(f"{printable(str(titles))}: row {number} has no column {lacking}.")
        if split and row["split"] != split:
            continue
        num_rows += 1
        path = _below(folder, file) if file else None
        yield Titled(file or title, _spelled_out(composer or "", title), composer or "", path)
    if not num_rows:
        raise UsageError(f"{printable(str(titles))}: has no row of the split {printable(split)!r}.")


def _first(row: dict[str, Any], names: tuple[str, ...]) -> str | None:
    return next((str(row[name]) for name in names if row.get(name) is not None), None)


def _below(folder: Path, file: str) -> Path | None:
    """The path of a file that a table names; None for one outside of the folder."""
    from aria_data.storage import as_on_disk

    pure = PurePosixPath(file)
    return None if pure.is_absolute() or ".." in pure.parts or "\0" in file else as_on_disk(folder, str(pure))


def _from_paths(folder: Path) -> Iterator[Titled]:
    from aria_data.errors import UsageError
    from aria_data.release.exclusions import Titled
    from aria_data.repertoire import find_composer
    from aria_data.storage import printable

    if not folder.is_dir():
        raise UsageError(f"{printable(str(folder))}: is not a folder. Name the benchmark's.")
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in MIDI_SUFFIXES and path.is_file()]
    if not paths:
        raise UsageError(f"{printable(str(folder))}: holds no .mid or .midi file.")
    for path in paths:
        inside = path.relative_to(folder)
        said = [*inside.parent.parts, *([path.stem] if len(inside.parts) < 3 else [])]
        if not find_composer(said[0]) and find_composer(folder.resolve().name):  # the folder of one composer
            said.insert(0, folder.resolve().name)
        composer, title = (said[0], "_".join(said[1:])) if len(said) > 1 else ("", said[0])
        yield Titled(inside.as_posix(), _spelled_out(composer, title), composer, path)


def _spelled_out(composer: str, title: str) -> str:
    """ "Piano_Sonatas_13-4" -> "Piano Sonata No. 13, movement 4"."""
    surname = composer.split()[-1] if composer.strip() else "-"
    said = f"{surname}: {title}"
    for pattern, replacement in SHORTENED:
        said = re.sub(rf"{pattern}$", replacement, said, count=1, flags=re.IGNORECASE)
    return said.removeprefix(f"{surname}: ")


def _made_from(titles: Path | None, split: str, with_notes: bool) -> str:
    from importlib.metadata import version

    what = f"the titles in {titles.name}" if titles else "the names of folders and files"
    part = f", split {split}" if split else ""
    notes = ", and the notes of the files" if with_notes else ""
    return f"{what}{part}, read by the rules of aria-data {version('aria-data')}{notes}"


def _facts(exclusion: Exclusion, out: Path, made: _Making) -> dict[str, Any]:
    return {
        "out": str(out),
        "name": exclusion.name,
        "num_titles": exclusion.num_titles,
        "num_unnamed": exclusion.num_unnamed,
        "num_compositions": len(exclusion.composition_ids),
        "num_performances": len(exclusion.performances),
        "num_failed": len(made.wrong),
    }


def _print(exclusion: Exclusion, out: Path, made: _Making) -> None:
    from aria_data.storage import printable

    click.echo(
        f"{printable(str(out))}: {exclusion.num_titles:,} titles, {len(exclusion.composition_ids):,} compositions, "
        f"the notes of {len(exclusion.performances):,} performances."
    )
    if made.unnamed:
        click.echo(f"{exclusion.num_unnamed:,} titles name no composition that could be told, among them:")
    for title in list(dict.fromkeys(made.unnamed))[:MAX_SHOWN]:
        click.echo(f"  {printable(title, 100)}")
