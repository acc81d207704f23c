"""What is on disk while a candidate's audio comes: the part that came, and a note beside it. No requests.

    audio/<2 hex>/<candidate_id>.partial        what came so far
    audio/<2 hex>/<candidate_id>.partial.json   of which file it is a part; once it is whole, the record of it
    audio/<2 hex>/<candidate_id>.flac           whole and verified

The note stays until the record is in a table (`settle`), so that a kill in between costs no second fetch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aria_data.errors import PermanentError
from aria_data.records import Download
from aria_data.storage import PARTIAL, not_writable, printable, write_whole

NOTE = f"{PARTIAL}.json"
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,150}")


def partial_path(root: Path, candidate_id: str) -> Path:
    """Where a candidate's audio is while it comes. Raises `PermanentError` for an id that is no file name."""
    if not _SAFE_NAME.fullmatch(candidate_id):
        raise PermanentError(f"{printable(candidate_id, 80)!r}: is no id of a candidate.", "refused")
    bucket = hashlib.sha256(candidate_id.encode()).hexdigest()[:2]
    return root / "audio" / bucket / f"{candidate_id}{PARTIAL}"


def prepare(partial: Path) -> None:
    """Make the folder. What is there but is no file of ours (a link) is taken away, never written through."""
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        if partial.is_symlink() or (partial.exists() and not partial.is_file()):
            partial.unlink()
    except OSError as error:
        raise not_writable(partial, error) from error


def forget(partial: Path) -> None:
    """Delete what a try left behind: a partial file, its fragments and notes."""
    for path in partial.parent.glob(f"{partial.name}*"):
        path.unlink(missing_ok=True)


def num_bytes_of(partial: Path) -> int:
    """How much of it has come."""
    return partial.stat().st_size if partial.is_file() else 0


def is_whole(partial: Path, url: str) -> bool:
    """Whether all of the file at this address has come, and only the verification is missing."""
    come, said = num_bytes_of(partial), _read_note(partial)
    return come > 0 and come == said.get("num_bytes") and said.get("url_sha256") == _sha256(url)


def mark_of(partial: Path, url: str = "") -> str:
    """What makes a server go on with this part only if the file is still the same; "" where it must begin anew.

    A part is gone on with only at the address it came from; without one it is enough that it could be.
    """
    said = _read_note(partial)
    is_same = not url or said.get("url_sha256") == _sha256(url)
    return str(said.get("mark") or "") if num_bytes_of(partial) and is_same else ""


def note_answer(partial: Path, url: str, status: int, headers: Mapping[str, str]) -> bool:
    """Note which file comes, before its first byte. False when a part does not continue what is here."""
    said = {"url_sha256": _sha256(url), "mark": _mark_in(headers), "num_bytes": size_said(status, headers)}
    if status != 206:
        partial.unlink(
            missing_ok=True
        )  # before the note, or a kill in between would leave one file's part as another's
        write_whole(_note_path(partial), json.dumps(said).encode())
        return True
    known, range_ = _read_note(partial), _RANGE.fullmatch(headers.get("content-range", "").strip())
    if range_ is None or int(range_[1]) != num_bytes_of(partial) or not known:
        return False
    is_to_the_end = range_[3] in ("*", str(int(range_[2]) + 1))
    return is_to_the_end and all(not said[name] or said[name] == known.get(name) for name in ("mark", "num_bytes"))


def note_record(partial: Path, record: Download) -> None:
    """Note what was fetched and verified, before it gets its name."""
    write_whole(_note_path(partial), json.dumps({**_read_note(partial), "record": asdict(record)}).encode())


def size_said(status: int, headers: Mapping[str, str]) -> int | None:
    """Bytes that the whole file has, as the server says."""
    said = headers.get("content-range", "").rpartition("/")[2] if status == 206 else headers.get("content-length", "")
    return int(said) if re.fullmatch(r"[0-9]{1,18}", said.strip()) else None


def unsettled(root: Path, partial: Path) -> Download | None:
    """The record of audio that was fetched whole by a run that was killed before its table had it."""
    said = _read_note(partial).get("record")
    try:
        record = Download(**said) if isinstance(said, dict) else None
        if record is not None and (root / record.audio_path).stat().st_size == record.num_bytes:
            return record
    except (OSError, TypeError, ValueError):
        pass
    return None


def settle(root: Path, candidate_ids: Collection[str]) -> None:
    """Delete the notes of whole audio whose records are in the table."""
    for note in (root / "audio").glob(f"*/*{NOTE}"):
        partial = note.with_suffix("")
        if note.name.removesuffix(NOTE) in candidate_ids and not partial.exists():
            note.unlink(missing_ok=True)


def _mark_in(headers: Mapping[str, str]) -> str:
    """What tells one state of a file from another, strong enough to go on with a part (RFC 9110, 13.1.5)."""
    etag = headers.get("etag", "")
    mark = etag if etag and not etag.startswith("W/") else headers.get("last-modified", "")
    return "" if headers.get("accept-ranges", "").lower() == "none" else mark[:300]


def _read_note(partial: Path) -> dict[str, Any]:
    """What is noted beside a partial file; nothing where the note is missing or damaged."""
    try:
        said = json.loads(_note_path(partial).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _sha256(url: str) -> str:
    """An address may hold a key, which is not written down."""
    return hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()


def _note_path(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")
