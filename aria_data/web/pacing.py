"""Pace the requests to each host, and let a host rest that fails. Nothing is fetched here.

Requests to a host start at least `min_interval_s` apart, with jitter; a Retry-After or crawl delay of its own counts
more. After `max_failures` in a row a host rests: requests to it are refused at once, and its items stay not done.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aria_data.errors import NetworkError


class HostResting(NetworkError):
    """The host failed too often, or asked for a wait longer than `max_wait_s`. It gets no request now."""

    reason = "host_resting"


@dataclass(frozen=True)
class PacingConfig:
    """The pace of requests to one host. Numbers are ours where no source is named."""

    min_interval_s: float = 1.0  # between the starts of two requests to one host
    jitter: float = 0.5  # an interval is longer by up to this share, so that requests of several runs do not coincide
    max_parallel: int = 2  # downloads from one host at the same time; browsers take six
    max_wait_s: float = 120.0  # a longer Retry-After is not waited for
    max_failures: int = 5  # in a row: then the host rests
    rest_s: float = 900.0  # a session limit of YouTube lasts up to an hour (yt-dlp#11426); we try again after 15 min


@dataclass
class _Host:
    free: threading.Semaphore
    next_at: float = 0.0  # when the next request may start
    interval_s: float = 0.0
    failures: int = 0
    resting_until: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Pacer:
    """Paces all threads of a run. `clock` and `sleep` can be replaced, so that a test need not wait."""

    def __init__(
        self,
        config: PacingConfig,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        seed: int | None = None,
    ):
        self.config, self._clock, self._sleep = config, clock, sleep
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._hosts: dict[str, _Host] = {}

    @contextmanager
    def place(self, host: str) -> Iterator[None]:
        """Hold one of the host's `max_parallel` places, for something that takes several requests or long ones."""
        with self._of(host).free:
            yield

    def wait(self, host: str) -> None:
        """Wait until a request to this host may start. Raises `HostResting` when the host rests."""
        state = self._of(host)
        with state.lock:
            now = self._clock()
            if state.resting_until > now:
                raise HostResting(
                    f"{host}: is left alone for another {state.resting_until - now:.0f} s: it failed, or asked for it. "
                    "Run the same command later."
                )
            start = max(now, state.next_at)
            if start - now > self.config.max_wait_s:
                raise HostResting(f"{host}: asks to wait {start - now:.0f} s. Run the same command later.")
            interval_s = max(self.config.min_interval_s, state.interval_s)
            state.next_at = start + interval_s * (1.0 + self.config.jitter * self._random.random())
        if start > now:
            self._sleep(start - now)

    def succeeded(self, host: str) -> None:
        """Note a good answer: failures count from 0 again."""
        self._of(host).failures = 0

    def failed(self, host: str) -> None:
        """Note a failure; after `max_failures` in a row the host rests for `rest_s`."""
        state = self._of(host)
        with state.lock:
            state.failures += 1
            if state.failures >= self.config.max_failures:
                state.resting_until = self._clock() + self.config.rest_s
                state.failures = self.config.max_failures - 1  # after the rest one more failure is enough

    def hold_off(self, host: str, seconds: float) -> None:
        """Start no request for so many seconds, as a Retry-After asks; for more than `max_wait_s` the host rests."""
        state = self._of(host)
        with state.lock:
            state.next_at = max(state.next_at, self._clock() + seconds)
            if seconds > self.config.max_wait_s:
                state.resting_until = max(state.resting_until, self._clock() + seconds)

    def slow_down(self, host: str, interval_s: float) -> None:
        """Keep at least this interval, as a crawl delay asks."""
        self._of(host).interval_s = max(self._of(host).interval_s, interval_s)

    def rest(self, host: str) -> None:
        """Let the host rest at once, for example after a check that only a human visitor can pass."""
        state = self._of(host)
        with state.lock:
            state.resting_until = max(state.resting_until, self._clock() + self.config.rest_s)

    def _of(self, host: str) -> _Host:
        with self._lock:
            if host not in self._hosts:
                self._hosts[host] = _Host(threading.Semaphore(max(1, self.config.max_parallel)))
            return self._hosts[host]
