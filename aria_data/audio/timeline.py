"""Where a frame belongs in time: gaps between packets, and a late beginning, become silence, as a player plays them.

Only jumps count. Time stamps that run a little fast or jitter are not filled up, and a jump that the next frame takes
back is a fault of one time stamp.
"""

from __future__ import annotations

from dataclasses import dataclass

MIN_SILENCE_S = 0.04  # what is shorter is heard by nobody, and is within the rounding of many containers
MAX_SILENCE_S = 600.0  # where no length is announced, a longer gap is a fault of the time stamps
MAX_JUMP_S = 10.0  # in broadcasts, whose clocks are set anew; as FFmpeg's `dts_delta_threshold`


@dataclass(slots=True)
class Moment:
    """When a frame begins, in seconds (None: not known), and how long it lasts."""

    start_s: float | None
    length_s: float


@dataclass(slots=True)
class Timeline:
    """Measures one stream's gaps. `origin_s` is when the file begins, `end_s` when it ends, if that is announced."""

    origin_s: float
    end_s: float | None
    is_broadcast: bool = False
    lead_s: float = 0.0
    silence_s: float = 0.0
    num_gaps: int = 0
    num_jumps: int = 0  # gaps too long to be believed
    _next_s: float | None = None
    _pending_s: float = 0.0

    def begin(self, first_s: float | None, moment: Moment) -> None:
        """Note the first frame, and when its packets begin. What a decoder takes before it sounds is no silence."""
        if first_s is not None and moment.start_s is not None and first_s - self.origin_s < MIN_SILENCE_S:
            self._next_s = moment.start_s

    def silence_before(self, moment: Moment, following: Moment | None) -> float:
        """Give the seconds of silence that belong before a frame; `following` is the frame behind it."""
        if moment.start_s is None:
            self._next_s = None if self._next_s is None else self._next_s + moment.length_s
            return 0.0
        is_first = self._next_s is None
        expected_s = self.origin_s if is_first else self._next_s
        step_s = moment.start_s - (expected_s or 0.0)
        self._next_s = moment.start_s + moment.length_s
        if abs(step_s) < 0.5 * moment.length_s and not is_first:
            return 0.0
        if following is not None and following.start_s is not None:
            back_s = following.start_s - self._next_s
            if step_s * back_s < 0 and abs(back_s) >= 0.5 * abs(step_s):  # the next frame takes it back
                self._next_s -= step_s
                return 0.0
        return self._filled(step_s, is_first)

    def _filled(self, step_s: float, is_first: bool) -> float:
        self._pending_s += step_s
        if self._pending_s < -1.0:  # the clock was set back
            self._pending_s = 0.0
        if self._pending_s < MIN_SILENCE_S:
            return 0.0
        silence_s, self._pending_s = self._pending_s, 0.0
        if not self._is_believed(silence_s):
            self.num_jumps += 1
            return 0.0
        if is_first:
            self.lead_s = silence_s
        else:
            self.num_gaps += 1
            self.silence_s += silence_s
        return silence_s

    def _is_believed(self, silence_s: float) -> bool:
        if self.is_broadcast:
            return silence_s <= MAX_JUMP_S
        if self.end_s is None:
            return silence_s <= MAX_SILENCE_S
        return (self._next_s or 0.0) <= self.end_s + 1.0
