"""What pages load besides themselves: sounds, pictures, notes to draw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from aria_data.manifest.dataset import read_midi_of
from aria_data.midi import Performance, read_midi
from aria_data.storage import printable
from flows.browse import segments
from flows.browse.alignment import aligned
from flows.browse.facts import heard
from flows.browse.filters import number_of
from flows.browse.remembered import Remembered
from flows.browse.rows import Rows
from flows.browse.sounds import Sounds
from flows.browse.spectrogram import spectrogram_png

MAX_ITEM_S = 600.0  # of a rejected recording that is played and drawn
LONG_S = 240.0  # of a longer span a coarse picture comes first
MAX_PICTURES = 60  # that are remembered: 0.2 MB each
LONGEST_S = 1e7  # a hundred days: what a row says that somebody else made is not believed
MIN_DRAWN_S = 1.0  # of a picture of a part


class Loads:
    """Answers for a version of the dataset at `root`. Unknown segments and items have status 404."""

    def __init__(self, root: Path, rows: Rows):
        self._root, self._rows, self._sounds = root, rows, Sounds()
        self._pictures: Remembered[bytes] = Remembered(MAX_PICTURES)

    def notes(self, request: Request) -> Response:
        row = self._row(request)
        scores = segments.scores_of(self._root, row["recording_id"])
        start_s, end_s = _span(row)
        span = {"start_s": start_s, "end_s": end_s}
        bars = segments.bars_of(self._root, self._rows.alignment(row))
        return JSONResponse({**segments.drawn(self._played(row)), "scores": scores, "bars": bars, **span})

    def aligned(self, request: Request) -> Response:
        """The notes of two segments, and which have a counterpart in the other."""
        one, other = self._row(request), self._row(request, "with")
        durations = {
            name: end_s - start_s for name, (start_s, end_s) in (("one_s", _span(one)), ("other_s", _span(other)))
        }
        return JSONResponse(aligned(self._played(one), self._played(other)) | durations)

    def recording_sound(self, request: Request) -> Response:
        row = self._row(request)
        span = self._location(row), *_span(row)
        return self._sounds.part(request, span, lambda: segments.recording_wav(self._root, *span))

    def notes_sound(self, request: Request) -> Response:
        row = self._row(request)
        return self._sounds.part(request, row["midi_path"], lambda: segments.notes_wav(self._played(row)))

    def spectrogram(self, request: Request) -> Response:
        """The whole segment, or the part of it that `from` and `to` choose, in seconds from its beginning."""
        row, query = self._row(request), request.query_params
        start_s, end_s = _span(row)
        last_s = max(end_s - MIN_DRAWN_S, start_s)
        from_s = min(max(start_s + (number_of(query.get("from")) or 0.0), start_s), last_s)
        to_s = number_of(query.get("to"))
        to_s = end_s if to_s is None else min(max(start_s + to_s, from_s + MIN_DRAWN_S), end_s)
        return self._picture(self._location(row), from_s, to_s, query.get("coarse") == "1")

    def _picture(self, location: str, start_s: float, end_s: float, is_coarse: bool = False) -> Response:
        span = location, start_s, end_s, is_coarse
        content = self._pictures.get(span, lambda: spectrogram_png(self._root, *span))
        return Response(content, media_type="image/png")

    def item_sound(self, request: Request) -> Response:
        span = self._item(request)
        return self._sounds.part(request, span, lambda: segments.recording_wav(self._root, *span))

    def item_spectrogram(self, request: Request) -> Response:
        return self._picture(*self._item(request))

    def _row(self, request: Request, parameter: str = "id") -> dict[str, Any]:
        segment_id = request.query_params.get(parameter, "")
        row = self._rows.row(segment_id)
        if row is None:
            raise HTTPException(404, f"This version has no segment {printable(segment_id, 80)}.")
        return row

    def _played(self, row: dict[str, Any]) -> Performance:
        read_midi_of(self._root, row)  # the file is there and is this row's
        return read_midi(self._root / row["midi_path"])

    def _location(self, row: dict[str, Any]) -> str:
        location = self._rows.recording(row["recording_id"]).get("location")
        if not location:
            raise HTTPException(404, "Nothing is known of where this recording's audio is.")
        return location

    def _item(self, request: Request) -> tuple[str, float, float]:
        """Where the sound of a rejected item is, and from where to where it is played."""
        found = self._rows.rejection(request.query_params.get("id", ""))
        known = heard(self._rows, found) if found else {}
        if not known or not known["recording"]:
            raise HTTPException(404, "There is no sound of it.")
        start_s, end_s = known["span"] or (0.0, known["recording"]["duration_s"])
        start_s, end_s = _span({"segment_id": found[0]["item_id"], "start_s": start_s, "end_s": end_s})
        return known["recording"]["location"], start_s, min(end_s, start_s + MAX_ITEM_S)


def _span(row: Mapping[str, Any]) -> tuple[float, float]:
    """From where to where a row is, in seconds of its recording. Status 400 where it says what no recording has."""
    start_s, end_s = row["start_s"], row["end_s"]
    if not 0 <= start_s <= end_s <= LONGEST_S:
        raise HTTPException(
            400, f"{printable(row['segment_id'], 80)}: is no span of a recording ({start_s} to {end_s} s)."
        )
    return start_s, end_s
