"""The files on disk while a candidate's audio is fetched: the part so far, and a note beside it. No requests.

    audio/<2 hex>/<candidate_id>.partial        the bytes so far
    audio/<2 hex>/<candidate_id>.partial.json   the note: which file this is a part of; later the `Download` record
    audio/<2 hex>/<candidate_id>.flac           whole and verified

The note stays until the record is in a table (`settle`), so that a kill in between does not cause a second fetch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
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
    """Give the path of a candidate's partial file. Raises `PermanentError` for an id that is no safe file name."""
    if not _SAFE_NAME.fullmatch(candidate_id):
        raise PermanentError(f"{printable(candidate_id, 80)!r}: is no id of a candidate.", "refused")
    bucket = hashlib.sha256(candidate_id.encode()).hexdigest()[:2]
    return root / "audio" / bucket / f"{candidate_id}{PARTIAL}"


def prepare(partial: Path) -> None:
    """Make the folder. A link, or anything but a file, in the partial file's place is removed, never written through.

    Raises `DatasetNotWritable`.
    """
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        if partial.is_symlink() or (partial.exists() and not partial.is_file()):
            partial.unlink()
    except OSError as error:
        raise not_writable(partial, error) from error


def forget(partial: Path) -> None:
    """Delete the files of a try: the partial file, its fragments and its note."""
    for path in partial.parent.glob(f"{partial.name}*"):
        path.unlink(missing_ok=True)


def num_bytes_of(partial: Path) -> int:
    """Give the number of bytes on disk, 0 without a partial file."""
    return partial.stat().st_size if partial.is_file() else 0


def is_whole(partial: Path, url: str) -> bool:
    """Whether all bytes of the file at this address are on disk, by the size that the server announced."""
    num_bytes, note = num_bytes_of(partial), _read_note(partial)
    return num_bytes > 0 and num_bytes == note.get("num_bytes") and note.get("url_sha256") == _sha256(url)


def mark_of(partial: Path, url: str = "") -> str:
    """Give the ETag or date for `If-Range`, with which a server continues this part only if the file is unchanged.

    It is "" where the fetch must begin anew: without a part or a mark, and for a part from another address than `url`.
    Without `url` the address is not compared.
    """
    note = _read_note(partial)
    is_same = not url or note.get("url_sha256") == _sha256(url)
    return str(note.get("mark") or "") if num_bytes_of(partial) and is_same else ""


def note_answer(partial: Path, url: str, status: int, headers: Mapping[str, str]) -> bool:
    """Note which file is fetched, before its first byte. Gives False for a part (206) that does not continue the bytes
    on disk; any other status deletes them."""
    note = {"url_sha256": _sha256(url), "mark": _mark_in(headers), "num_bytes": stated_size(status, headers)}
    if status != 206:
        partial.unlink(
            missing_ok=True
        )  # before the note, or a kill in between would leave one file's part as another's
        write_whole(_note_path(partial), json.dumps(note).encode())
        return True
    known, range_ = _read_note(partial), _RANGE.fullmatch(headers.get("content-range", "").strip())
    if range_ is None or int(range_[1]) != num_bytes_of(partial) or not known:
        return False
    is_to_the_end = range_[3] in ("*", str(int(range_[2]) + 1))
    return is_to_the_end and all(not note[name] or note[name] == known.get(name) for name in ("mark", "num_bytes"))


def note_record(partial: Path, record: Download) -> None:
    """Add the record of a verified file to its note, before the file gets its name."""
    write_whole(_note_path(partial), json.dumps({**_read_note(partial), "record": asdict(record)}).encode())


def stated_size(status: int, headers: Mapping[str, str]) -> int | None:
    """Give the number of bytes of the whole file that the server announces; None where it does not."""
    size = headers.get("content-range", "").rpartition("/")[2] if status == 206 else headers.get("content-length", "")
    return int(size) if re.fullmatch(r"[0-9]{1,18}", size.strip()) else None


def unsettled(root: Path, partial: Path) -> Download | None:
    """Give the record of audio that a run fetched whole before it was killed, and that is in no table yet."""
    noted = _read_note(partial).get("record")
    try:
        record = Download(**noted) if isinstance(noted, dict) else None
        if record is not None and (root / record.audio_path).stat().st_size == record.num_bytes:
            return record
    except (OSError, TypeError, ValueError):
        pass
    return None


def noted(root: Path) -> list[str]:
    """The candidate ids of which there are notes: few, of what was being fetched when a run was killed."""
    return sorted(note.name.removesuffix(NOTE) for note in (root / "audio").glob(f"*/*{NOTE}"))


def settle(root: Path, candidate_ids: Collection[str]) -> None:
    """Delete the notes of whole audio. Call it with the ids whose records are in the table."""
    for note in (root / "audio").glob(f"*/*{NOTE}"):
        partial = note.with_suffix("")
        if note.name.removesuffix(NOTE) in candidate_ids and not partial.exists():
            note.unlink(missing_ok=True)


def _mark_in(headers: Mapping[str, str]) -> str:
    """Give the strong ETag, or the date, that identifies one state of a file (RFC 9110, 13.1.5); "" without one."""
    etag = headers.get("etag", "")
    mark = etag if etag and not etag.startswith("W/") else headers.get("last-modified", "")
    return "" if headers.get("accept-ranges", "").lower() == "none" else mark[:300]


def _read_note(partial: Path) -> dict[str, Any]:
    """Read the note beside a partial file; {} where it is missing or damaged."""
    try:
        note = json.loads(_note_path(partial).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def _sha256(url: str) -> str:
    """Hash an address: it may hold a key, which must not be stored."""
    return hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()


def _note_path(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


@contextmanager
def closing_files(downloader: Any) -> Iterator[None]:
    """Close the files that a downloader opened: that of streams leaves its file open when a piece fails."""
    opened: list[Any] = []
    open_file = downloader.sanitize_open

    def recorded(*arguments: Any) -> tuple[Any, str]:
        stream, path = open_file(*arguments)
        opened.append(stream)
        return stream, path

    downloader.sanitize_open = recorded
    try:
        yield
    finally:
        for stream in opened:
            with suppress(OSError):  # what was not written yet does not fit on a full disk either
                stream.close()
