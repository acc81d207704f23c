"""What pages load besides themselves: sounds, pictures, notes to draw."""

from __future__ import annotations

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
from flows.browse.rows import Rows
from flows.browse.sounds import Sounds
from flows.browse.spectrogram import spectrogram_png

MAX_ITEM_S = 600.0  # of a rejected recording that is played and drawn


class Loads:
    """Answers for a version of the dataset at `root`. Unknown segments and items have status 404."""

    def __init__(self, root: Path, rows: Rows):
        self._root, self._rows, self._sounds = root, rows, Sounds()

    def notes(self, request: Request) -> Response:
        row = self._row(request)
        scores = segments.scores_of(self._root, row["recording_id"])
        span = {"start_s": row["start_s"], "end_s": row["end_s"], "duration_s": row["duration_s"]}
        return JSONResponse({**segments.drawn(self._played(row)), "scores": scores, **span})

    def aligned(self, request: Request) -> Response:
        """The notes of two segments, and which have a counterpart in the other."""
        one, other = self._row(request), self._row(request, "with")
        durations = {"one_s": one["duration_s"], "other_s": other["duration_s"]}
        return JSONResponse(aligned(self._played(one), self._played(other)) | durations)

    def recording_sound(self, request: Request) -> Response:
        row = self._row(request)
        span = self._location(row), row["start_s"], row["end_s"]
        return self._sounds.part(request, span, lambda: segments.recording_wav(self._root, *span))

    def notes_sound(self, request: Request) -> Response:
        row = self._row(request)
        return self._sounds.part(request, row["midi_path"], lambda: segments.notes_wav(self._played(row)))

    def spectrogram(self, request: Request) -> Response:
        row = self._row(request)
        is_coarse = request.query_params.get("coarse") == "1"
        picture = spectrogram_png(self._root, self._location(row), row["start_s"], row["end_s"], is_coarse)
        return Response(picture, media_type="image/png")

    def item_sound(self, request: Request) -> Response:
        span = self._item(request)
        return self._sounds.part(request, span, lambda: segments.recording_wav(self._root, *span))

    def item_spectrogram(self, request: Request) -> Response:
        return Response(spectrogram_png(self._root, *self._item(request)), media_type="image/png")

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
        return known["recording"]["location"], start_s, min(end_s, start_s + MAX_ITEM_S)
