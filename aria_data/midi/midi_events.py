"""The events of a Standard MIDI File, read as players read it: what is foreign, odd or out of range costs no note.

Only what a performance needs is kept: notes, controllers and tempos. mido, with which files are written, refuses a
whole file for a key signature that does not exist; symusic refuses SMPTE time, RMID and values over 127.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

NOTE_OFF, NOTE_ON, CONTROL = 0x80, 0x90, 0xB0  # the upper half of a status byte; the lower half is the channel
TEMPO = 0x51  # a meta event's type
DEFAULT_TEMPO_US = 500_000  # a quarter note of a file that states no tempo: 120 a minute
MAX_PREFIX_BYTES = 1 << 16  # in front of the header: RMID's, with the titles it may carry; MacBinary's is 128
MAX_QUANTITY = 0x0FFF_FFFF  # the largest number of variable length (MIDI 1.0)

_META, _SYSEX, _SYSEX_END = 0xFF, 0xF0, 0xF7
_END_OF_TRACK = 0x2F
_NUM_DATA = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
_NUM_SYSTEM_DATA = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0} | dict.fromkeys(range(0xF8, 0xFF), 0)
_PLAIN = frozenset((NOTE_OFF, NOTE_ON, CONTROL))
_MAX_PLAIN_BYTES = 5  # of an event of these: two of time, a status, two of data
_FRAMES_PER_S = {29: 30_000 / 1001}  # SMPTE's 29 is drop frame; 24, 25 and 30 mean themselves


# An event of a track: its tick, kind, channel, the pitch or controller, the velocity or value; of the kind TEMPO the
# fourth is the microseconds of a quarter note. A plain tuple: the garbage collector leaves tuples of numbers alone.
Event = tuple[int, int, int, int, int]


@dataclass(slots=True)
class Track:
    """The events of one track in order, and the tick at which it ends."""

    events: list[Event] = field(default_factory=list)
    end: int = 0


@dataclass(frozen=True, slots=True)
class MidiFile:
    """The tracks of a file and its clock: ticks a quarter note, or with SMPTE time ticks a second."""

    tracks: list[Track]
    ticks_per_beat: int
    ticks_per_s: float | None = None  # SMPTE time; tempos then mean nothing
    is_sequence: bool = False  # type 2: the tracks follow one another


def parse(content: bytes) -> MidiFile:
    """Read a MIDI file's content. Raises `ValueError` for what is no MIDI file, and for one that is cut or damaged.

    Accepted: RMID, bytes and chunks before, between and after the tracks, more or fewer tracks than announced, a wrong
    length of a track that has its end, data bytes over 127 (taken as 127, as mido's `clip` does), events that MIDI
    files should not hold. A type 2 file whose first track has no notes is a type 1 file with a wrong number.
    """
    start = content.find(b"MThd", 0, MAX_PREFIX_BYTES)
    if start < 0:
        raise ValueError("it has no MThd, with which MIDI files begin")
    content = content[start:]
    if len(content) < 14:
        raise ValueError("it ends within its header")
    size, kind, division = (int.from_bytes(content[a:b], "big") for a, b in ((4, 8), (8, 10), (12, 14)))
    ticks_per_beat, ticks_per_s = _clock(division)
    tracks = list(_tracks(content, _next_chunk(content, 8 + size, 14)))
    if not tracks:
        raise ValueError("it has no track")
    has_notes = any(kind == NOTE_ON for _, kind, *_ in tracks[0].events)
    return MidiFile(tracks, ticks_per_beat, ticks_per_s, kind == 2 and has_notes)


def _clock(division: int) -> tuple[int, float | None]:
    """Give (ticks a quarter note, ticks a second); the second is None unless the file counts SMPTE frames."""
    frames, ticks_per_frame = 256 - (division >> 8), division & 0xFF
    if division == 0 or (division & 0x8000 and ticks_per_frame == 0):
        raise ValueError("it has a clock of 0 ticks")
    if division & 0x8000:
        return 1, _FRAMES_PER_S.get(frames, float(frames)) * ticks_per_frame
    return division, None


def _tracks(content: bytes, position: int) -> Iterator[Track]:
    """Read the tracks, chunk after chunk; other chunks are left out."""
    while position + 8 <= len(content):
        start = position + 8
        announced = start + int.from_bytes(content[position + 4 : start], "big")
        if content[position : position + 4] == b"MTrk":
            reader = _TrackReader(content, start, announced)
            yield reader.track()
            position = _next_chunk(content, announced, reader.position)
        else:
            position = _next_chunk(content, announced, start)
    if content[position : position + 4] == b"MTrk":
        raise ValueError("it ends where a track begins")


def _next_chunk(content: bytes, announced: int, ended: int) -> int:
    """Where the next chunk begins: where a length says so, or at the first track after `ended`, where reading ended."""
    is_announced = announced == len(content) or _is_chunk_at(content, announced)
    if announced >= ended and is_announced and content[ended : ended + 4] != b"MTrk":
        return announced
    found = content.find(b"MTrk", ended)
    return len(content) if found < 0 else found


def _is_chunk_at(content: bytes, position: int) -> bool:
    """Whether a name and a size stand here that fit into the file; a track need not, it may be longer than it says."""
    name, size = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "big")
    return name == b"MTrk" or (len(name) == 4 and name.isalnum() and position + 8 + size <= len(content))


class _TrackReader:
    """Reads one track. `position` is then where it ended."""

    def __init__(self, content: bytes, position: int, announced: int):
        self.content, self.position, self.announced = content, position, announced

    def track(self) -> Track:
        """Read to the end event or, where the track has none, to the end of the chunk."""
        track, tick, status = Track(), 0, 0
        while True:
            tick, status = self._read_plain_events(track, tick, status)
            if self._is_at_end():
                break
            tick += self._quantity()
            # without a status byte the last event's holds; some writers carry it on past meta events
            following = self._byte() if self._peek() >= 0x80 else status
            if following == _META:
                kind, data = self._byte(), self._data()
                if kind == _END_OF_TRACK:
                    break
                if kind == TEMPO and len(data) >= 3 and any(data[:3]):
                    track.events.append((tick, TEMPO, 0, int.from_bytes(data[:3], "big"), 0))
            elif following >= 0xF0:
                self._skip_system(following)
            else:
                status = following
                self._channel_event(track, tick, status)
        track.end = tick
        return track

    def _read_plain_events(self, track: Track, tick: int, status: int) -> tuple[int, int]:
        """Read on while events are those that nearly all are: notes and controllers, in range, soon after each other.

        It stops before any other and near the end, for `track` to look at. Every quantity here has at most two bytes.
        """
        content, position, append = self.content, self.position, track.events.append
        last = (self.announced if position < self.announced <= len(content) else len(content)) - _MAX_PLAIN_BYTES
        while position < last:
            at, delta = position + 1, content[position]
            if delta > 127:
                at, delta = position + 2, (delta & 0x7F) << 7 | content[position + 1]
                if content[position + 1] > 127:
                    break
            following = content[at]
            if following < 0x80:
                following, at = status, at - 1
            first, second = content[at + 1], content[at + 2]
            if following & 0xF0 not in _PLAIN or first > 127 or second > 127:
                break
            tick, status, position = tick + delta, following, at + 3
            append((tick, status & 0xF0, status & 0x0F, first, second))
        self.position = position
        return tick, status

    def _is_at_end(self) -> bool:
        if self.position != self.announced:
            return False
        return self.position == len(self.content) or _is_chunk_at(self.content, self.position)

    def _channel_event(self, track: Track, tick: int, status: int) -> None:
        num_data = _NUM_DATA.get(status & 0xF0)
        if num_data is None:
            raise ValueError("it has a value where an event should begin")
        first = min(self._byte(), 127) if num_data > 0 else 0
        second = min(self._byte(), 127) if num_data > 1 else 0
        if status & 0xF0 in (NOTE_OFF, NOTE_ON, CONTROL):
            track.events.append((tick, status & 0xF0, status & 0x0F, first, second))

    def _skip_system(self, status: int) -> None:
        if status in (_SYSEX, _SYSEX_END):
            self._data()
        elif status in _NUM_SYSTEM_DATA:
            for _ in range(_NUM_SYSTEM_DATA[status]):
                self._byte()
        else:
            raise ValueError(f"it has an event that MIDI does not know, {status:#04x}")

    def _peek(self) -> int:
        if self.position >= len(self.content):
            raise ValueError("it ends within a track")
        return self.content[self.position]

    def _byte(self) -> int:
        position = self.position
        if position >= len(self.content):
            raise ValueError("it ends within a track")
        self.position = position + 1
        return self.content[position]

    def _quantity(self) -> int:
        """Read a number of variable length."""
        value = 0
        while True:
            byte = self._byte()
            value = value << 7 | byte & 0x7F
            if value > MAX_QUANTITY:
                raise ValueError("it has a time or a length over 28 bits")
            if byte < 0x80:
                return value

    def _data(self) -> bytes:
        """Read a length and as many bytes."""
        size = self._quantity()
        if self.position + size > len(self.content):
            raise ValueError("it ends within an event")
        self.position += size
        return self.content[self.position - size : self.position]
