"""All scores of a folder, read once: partitura takes seconds for a large one. PDMX's table of titles is read, too."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from aria_data.align.bounded_reading import READER
from aria_data.align.score_files import (
    MAX_FILE_BYTES,
    ScoreNotReached,
    ScoreUnreadable,
    composition_of,
    find_scores,
)
from aria_data.align.scores import Score
from aria_data.errors import UsageError
from aria_data.storage import local_copy, printable, write_whole

VERSION = 1  # raise it when scores are read in another way
PDMX_TABLE = "PDMX.csv"  # at the top of the data set: mxl (a path), title, composer_name
MAX_ID_CHARS = 4_096  # as long as paths get
MAX_FIELD_CHARS = 1 << 20
_TEXTS = ("score_id", "sha256", "title", "composer", "composition_id", "note_ids", "signature")


def read_scores(
    folder: Path, cache: Path | None = None, is_chosen: Callable[[Path], bool] = lambda path: True
) -> Iterator[tuple[Path, Score | ScoreUnreadable]]:
    """Yield every score below a folder, in order of paths, or why it cannot be read. Raises `UsageError` for none.

    `cache` is a folder that keeps what was read, and what was refused, by the file's bytes. Where PDMX's table is,
    it says which files are scores, and their titles; `UsageError` where it is damaged.
    """
    texts = _pdmx_texts(folder)
    paths = [path for path in _without_doubles(find_scores(folder)) if not texts or _below(folder, path) in texts]
    paths = [path for path in paths if is_chosen(path)]
    for path in paths:
        score_id = _below(folder, path)
        try:
            yield path, _read(path, score_id, texts.get(score_id, {}), cache)
        except ScoreUnreadable as error:
            yield path, error


def _below(folder: Path, path: Path) -> str:
    """The score's id: its path below the folder, with escapes for what is no text."""
    return printable(path.relative_to(folder).as_posix(), MAX_ID_CHARS)


def _without_doubles(paths: Iterable[Path]) -> Iterator[Path]:
    """Leave out a MIDI file beside a score of the same name, which says more."""
    found = list(paths)
    notated = {path.with_suffix("") for path in found if path.suffix.lower() not in (".mid", ".midi")}
    return (
        path for path in found if path.suffix.lower() not in (".mid", ".midi") or path.with_suffix("") not in notated
    )


def _pdmx_texts(folder: Path) -> dict[str, dict[str, str]]:
    """Titles and composers by score_id, from PDMX's table; empty where there is none."""
    table, found = folder / PDMX_TABLE, dict[str, dict[str, str]]()
    csv.field_size_limit(MAX_FIELD_CHARS)
    try:
        if not table.is_file():
            return {}
        with open(table, encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file):
                place = (row.get("mxl") or "").removeprefix("./")
                title, composer = row.get("title") or row.get("song_name") or "", row.get("composer_name") or ""
                found[place] = {"title": title, "composer": composer}
    except (OSError, csv.Error) as error:
        raise UsageError(
            f"{printable(str(table))}: cannot be read as PDMX's table of scores ({error}). Mend it, or move it away."
        ) from error
    return found


def _read(path: Path, score_id: str, texts: dict[str, str], cache: Path | None) -> Score:
    raw = _sha256(path) if cache else ""
    kept = cache / raw[:2] / f"{raw}-{VERSION}.npz" if cache and raw else None
    known = _kept(kept, path) if kept else None
    if known is not None:
        title, composer = texts.get("title") or known.title, texts.get("composer") or known.composer
        named = composition_of(score_id, title, composer)
        return replace(known, score_id=score_id, title=title, composer=composer, composition_id=named)
    try:
        content = READER.read(path, score_id, texts)
    except ScoreUnreadable as error:
        if kept and not isinstance(error, ScoreNotReached):
            write_whole(_refusal(kept, path), str(error).removeprefix(_shown(path)).encode())
        raise
    if kept:
        write_whole(kept, content)
    return _unpacked(io.BytesIO(content))


def _sha256(path: Path) -> str:
    """The digest of a file's bytes; "" of one that is no score for its size, or cannot be read."""
    try:
        if path.is_file() and path.stat().st_size <= MAX_FILE_BYTES:
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        pass
    return ""


def _shown(path: Path) -> str:
    return printable(str(path), 1000)


def _refusal(kept: Path, path: Path) -> Path:
    """Where it is kept that a file is no score; what it is read as is decided by its ending."""
    return kept.with_name(f"{kept.stem}{path.suffix.lower()}.refused")


def packed(score: Score) -> bytes:
    """Write a score as an .npz file without Python objects."""
    sink = io.BytesIO()
    arrays = {each.name: getattr(score, each.name) for each in fields(Score) if each.name not in _TEXTS}
    texts = json.dumps({name: getattr(score, name) for name in _TEXTS})
    np.savez_compressed(sink, texts=np.frombuffer(texts.encode(), np.uint8), **arrays)
    return sink.getvalue()


def _kept(kept: Path, path: Path) -> Score | None:
    """A score as it was read before; None where there is none, or its file is damaged: then it is read again.

    Raises `ScoreUnreadable`, in the words of before, for one that was refused.
    """
    refusal = _refusal(kept, path)
    if refusal.is_file():
        raise ScoreUnreadable(f"{_shown(path)}{refusal.read_text('utf-8', 'replace')}")
    try:
        return _unpacked(local_copy(kept))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _unpacked(file: Path | BinaryIO) -> Score:
    with np.load(file, allow_pickle=False) as found:
        texts = json.loads(found["texts"].tobytes())
        arrays = {name: found[name] for name in found.files if name != "texts"}
    texts["note_ids"], texts["signature"] = tuple(texts["note_ids"]), tuple(texts["signature"])
    return Score(**texts, **arrays)
