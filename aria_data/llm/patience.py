"""Whether a server is still worth asking: how long it has been away, and whether its answers are of any use.

Patience with a server that does not answer is counted in time, so that a restart costs nothing; patience with one that
answers what cannot be used is counted in answers, since each is paid for. Used from one event loop only.
"""

from __future__ import annotations

import time

from aria_data.errors import NetworkError, TemporaryError
from aria_data.llm.limits import Limiter, backoff_s
from aria_data.llm.wire import NotNow

MIN_FAILURES = 3  # in a row, before a server is given up
UNUSABLE_AT_START = 3  # answers, of which none could be used
UNUSABLE_LATER = 12  # in a row, from a server whose answers were of use before
MAX_PAUSE_S = 8.0  # between two attempts at a server that is away: most restarts are noticed within seconds


class NothingUsable(TemporaryError):
    """The model's answers cannot be used, so it is not asked any more."""

    reason = "llm_answer_invalid"


class Patience:
    """What has gone wrong in a row. `patience_s`: how long a server may be away; `first_wait_s`: the first pause."""

    def __init__(self, server: str, patience_s: float, first_wait_s: float):
        self._server, self._patience_s, self._first_wait_s = server, patience_s, first_wait_s
        self._num_failures = 0  # requests in a row without an answer
        self._failing_since = 0.0
        self._first_cause = ""
        self._num_unusable: dict[str, int] = {}  # answers in a row, by task
        self._has_used: set[str] = set()  # tasks with an answer that could be used
        self._last_words = ""

    def check(self, task: str) -> None:
        """Raise the error that says why nothing more is asked: `NetworkError` or `NothingUsable`."""
        if self._num_failures >= MIN_FAILURES and self._failing_s() >= self._patience_s:
            raise NetworkError(
                f"{self._server}: has not answered for {self._failing_s():.0f} s, so nothing more is asked. "
                f"First: {self._first_cause} What is answered is kept; run again when the server answers."
            )
        most = UNUSABLE_LATER if task in self._has_used else UNUSABLE_AT_START
        if self._num_unusable.get(task, 0) >= most:
            raise NothingUsable(
                f"{self._server}: {self._num_unusable[task]} answers in a row could not be used, so nothing more is "
                f"asked. The last: {self._last_words} Try another model; what is answered is kept."
            )

    def failed(self, trouble: NotNow, limiter: Limiter) -> None:
        """Count a request without an answer. After a few in a row, the server is asked ever more slowly."""
        if not self._num_failures:
            self._failing_since, self._first_cause = time.monotonic(), str(trouble)
        self._num_failures += 1
        if self._num_failures >= MIN_FAILURES:
            limiter.hold(backoff_s(self._num_failures - MIN_FAILURES, self._first_wait_s, MAX_PAUSE_S))

    def waits_for(self, trouble: NotNow) -> bool:
        """Whether the server is away (starting, restarting) and may come back: then the attempt does not count."""
        is_given_up = self._num_failures >= MIN_FAILURES and self._failing_s() >= self._patience_s
        return trouble.is_away and not is_given_up

    def answered(self) -> None:
        self._num_failures = 0

    def judge(self, task: str, is_of_use: bool, words: str) -> int:
        """Count an answer. Gives how many in a row could not be used."""
        self._num_unusable[task] = 0 if is_of_use else self._num_unusable.get(task, 0) + 1
        if is_of_use:
            self._has_used.add(task)
        self._last_words = words
        return self._num_unusable[task]

    def _failing_s(self) -> float:
        return time.monotonic() - self._failing_since
