"""Work counted in calls, which is the same on every machine and beside any other work (a clock is not); and memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def num_calls(function: Callable[..., Any], *arguments: Any) -> int:
    """How many functions, of Python and of C, are called while it runs. Call it once before, so that caches are full.

    What one call into C does is not seen: a pattern that backtracks needs a guard against hanging beside this.
    """
    count = 0

    def counting(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counting)
    try:
        function(*arguments)
    finally:
        sys.setprofile(before)
    return count


def assert_bounded(function: Callable[[str], Any], text_of: Callable[[int], str]) -> None:
    """What follows in a long text costs nothing: 100,000 characters need no more calls than 50,000."""
    function(text_of(100_000))
    half, whole = (num_calls(function, text_of(size)) for size in (50_000, 100_000))
    assert whole <= 1.05 * half + 50


def peak_memory_mb() -> int:
    """The most memory that this process has held. `ru_maxrss` would count its parent's as well, from which it began."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024
