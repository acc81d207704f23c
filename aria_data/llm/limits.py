"""How many requests may be under way, and when the next may be sent, learned from a server's answers.

Used from one event loop only. No request is made here.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)")


class Limiter:
    """Limits concurrent requests by additive increase and multiplicative decrease: `room` is halved by a refusal."""

    def __init__(self, start: int, most: int):
        self.room = float(min(start, most))
        self._most = float(most)
        self._num_running = 0
        self._not_before = 0.0
        self._cut_at = 0.0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Wait for a place and hold it; gives the monotonic time at which it was taken, for `refused`."""
        async with self._changed:
            while True:
                pause_s = self._not_before - time.monotonic()
                if pause_s <= 0 and self._num_running < max(1, int(self.room)):
                    break
                await self._wait(pause_s)
            self._num_running += 1
        try:
            yield time.monotonic()
        finally:
            self._num_running -= 1
            async with self._changed:
                self._changed.notify_all()

    async def _wait(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s if pause_s > 0 else None):
                await self._changed.wait()
        except TimeoutError:
            pass

    def answered(self, headers: Mapping[str, str], max_wait_s: float) -> None:
        """Raise the limit by one place per round of answers; pause if the server's headers announce that."""
        self.room = min(self._most, self.room + 1 / max(1.0, self.room))
        self.hold(min(announced_pause_s(headers), max_wait_s))

    def refused(self, taken_at: float, wait_s: float) -> None:
        """Halve the limit, once for all requests that were under way together, and pause."""
        if taken_at >= self._cut_at:
            self.room = max(1.0, self.room / 2)
            self._cut_at = time.monotonic()
        self.hold(wait_s)

    def hold(self, wait_s: float) -> None:
        """Send no request for `wait_s` seconds."""
        self._not_before = max(self._not_before, time.monotonic() + wait_s)


def backoff_s(attempt: int, first_s: float, most_s: float = 60.0) -> float:
    """Seconds to wait before attempt `attempt` + 1: doubling, with jitter so that requests do not return together."""
    return min(most_s, first_s * 2 ** min(attempt, 20)) * random.uniform(0.5, 1.0)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: `Retry-After` in seconds or as a date, or `retry-after-ms`; None if not."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()[:64]
        if not text:
            continue
        try:
            seconds = float(text) * unit_s
        except ValueError:
            seconds = _until(text)
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _until(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError, OSError):
        return math.nan


def announced_pause_s(headers: Mapping[str, str]) -> float:
    """Seconds until the rate limit is reset, if `x-ratelimit-remaining-*` is 0; else 0."""
    pauses_s = [0.0]
    for what in ("requests", "tokens"):
        if headers.get(f"x-ratelimit-remaining-{what}", "").strip() == "0":
            pauses_s.append(span_s(headers.get(f"x-ratelimit-reset-{what}", "")))
    return max(pauses_s)


def span_s(text: str) -> float:
    """Seconds of "6m0s", "20ms", "1.5" or "1h2m3s"; 0 for anything else."""
    text = text.strip()[:64]
    try:
        seconds = float(text)
        return max(0.0, seconds) if math.isfinite(seconds) else 0.0
    except ValueError:
        parts = _SPAN.findall(text)
        return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
