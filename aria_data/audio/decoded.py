"""What a file announces, and what was found in it when it was decoded to its end. Nothing is read or judged here."""

from __future__ import annotations

from dataclasses import dataclass, field

from aria_data.audio.containers import has_pauses, is_of_container, owns_duration
from aria_data.audio.frames import BROADCASTS, MAX_AMPLITUDE, Tally
from aria_data.audio.opening import Opened
from aria_data.audio.reachable import is_short, require_readable
from aria_data.audio.tags import decoded_tags


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a file's header announces. Nothing is decoded for it."""

    duration_s: float | None
    sample_rate: int
    num_channels: int
    codec: str
    tags: dict[str, str] = field(default_factory=dict)  # lower-case names
    is_duration_stated: bool = True  # False: guessed from the bit rate, good enough to show progress
    notes: tuple[str, ...] = ()  # what is odd, and how it is read all the same


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a file holds, found by decoding it to its end. Positions count from when the file begins, in seconds."""

    info: AudioInfo
    num_samples: int  # of one channel, with the silence that stands for gaps
    duration_s: float
    lead_s: float  # silence before the first sample: the sound begins later than the picture
    missing_s: float  # of gaps between packets where sound should be
    num_faults: int  # packets that did not decode
    num_wild: int  # samples far over full scale; each was clipped
    num_not_finite: int  # samples that are no numbers
    early_end: str  # why it could not be read to its end, or the sign that its end is missing
    unread: str  # sound behind the end that the file announces
    share_there: float  # of the bytes that the container announces
    is_whole: bool  # the container's bytes prove that nothing is missing
    owned_s: float | None  # the length that is announced for the sound itself
    container_s: float | None  # for the longest stream, where only that is announced
    reach_s: float  # the end of the last packet of any stream
    film_s: float | None  # the length of the whole, picture and all, where that may be another
    notes: tuple[str, ...]

    def share_of_announced(self) -> tuple[float, float]:
        """Give how much of what was announced is there, 0 to 1, and the seconds that were announced."""
        lasts_s = self.duration_s - self.lead_s
        heard_s = lasts_s - self.missing_s
        shares = [(1.0, lasts_s)]
        if self.share_there < 1:
            shares.append((self.share_there, self.container_s or heard_s / max(self.share_there, 1e-9)))
        if self.owned_s and not self.is_whole:
            shares.append((heard_s / self.owned_s, self.owned_s))
        if self.container_s and not self.is_whole:
            shares.append((max(self.reach_s, heard_s) / self.container_s, self.container_s))
        return min(shares)


def info_of(opened: Opened) -> AudioInfo:
    """Read what the header announces."""
    stream, container, ending = opened.stream, opened.container, opened.ending
    context = stream.codec_context
    duration_s = None
    if stream.duration is not None and stream.time_base is not None:
        duration_s = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        duration_s = container.duration / 1_000_000
    notes = tuple(note for note in (opened.track_note, ending.note) if note)
    is_stated = owns_duration(opened.format_name) or is_of_container(opened.format_name)
    return AudioInfo(
        duration_s if duration_s is None else duration_s / max(ending.share, 1e-3),
        context.sample_rate,
        context.layout.nb_channels,
        context.name,
        decoded_tags([container.metadata, stream.metadata]),
        is_stated or ending.stated_s is not None,
        notes,
    )


def decoded_of(tally: Tally, info: AudioInfo) -> Decoded:
    """Sum up what was found. Raises `AudioUnreachable` where something is missing and the file cannot be read now."""
    opened, timeline = tally.opened, tally.timeline
    duration_s = tally.num_samples / info.sample_rate
    if tally.num_samples == 0 or tally.num_faults or is_short(duration_s, info.duration_s):
        require_readable(opened.path, opened.before)
    owned_s = opened.ending.stated_s
    if owns_duration(opened.format_name) and opened.ending.share == 1 and not opened.ending.ignores_length:
        owned_s = _indexed_s(opened) or info.duration_s
    has_length = is_of_container(opened.format_name) and opened.format_name not in BROADCASTS
    begins_s = 0.0 if opened.format_name.startswith("matroska") else max(0.0, timeline.origin_s)
    return Decoded(
        info=info,
        num_samples=tally.num_samples,
        duration_s=duration_s,
        lead_s=timeline.lead_s,
        missing_s=0.0 if has_pauses(opened.format_name) else timeline.silence_s,
        num_faults=tally.num_faults,
        num_wild=tally.num_wild,
        num_not_finite=tally.num_not_finite,
        early_end=tally.early_end,
        unread=opened.ending.unread,
        share_there=opened.ending.share,
        is_whole=opened.ending.is_whole,
        owned_s=owned_s,
        container_s=opened.container.duration / 1e6 if has_length and opened.container.duration else None,
        reach_s=tally.reach_s - begins_s,
        film_s=opened.container.duration / 1e6
        if has_pauses(opened.format_name) and opened.container.duration
        else None,
        notes=(*info.notes, *_notes(tally)),
    )


def _indexed_s(opened: Opened) -> float | None:
    """Give the length that an AVI file's index states. What its header states counts empty frames, too."""
    stream, at = opened.stream, opened.indexed
    if at is None or stream.time_base is None:
        return None
    return float(at * stream.time_base)


def _notes(tally: Tally) -> list[str]:
    timeline, notes = tally.timeline, []
    if timeline.lead_s:
        notes.append(f"its sound begins {timeline.lead_s:.2f} s after the file: silence stands before it")
    elif timeline.origin_s > 0.05 and tally.opened.format_name not in (*BROADCASTS, "mp3"):
        notes.append(f"its clock begins at {timeline.origin_s:.2f} s: positions count from its first sound")
    if timeline.num_gaps:
        notes.append(f"{timeline.num_gaps} gaps between its packets, {timeline.silence_s:.2f} s, are read as silence")
    if timeline.num_jumps:
        notes.append(f"{timeline.num_jumps} jumps of its time stamps are too long for gaps, and were left out")
    if tally.num_wild:
        notes.append(f"{tally.num_wild} samples over {MAX_AMPLITUDE:g} times full scale were clipped")
    return notes
