"""The attempts to fetch a candidate are in the order in which they were made."""

from __future__ import annotations

from aria_data.records import Attempt
from flows.engine.attempts import Attempts


def test_the_latest_attempt_is_the_one_made_last_whatever_the_clock_said(tmp_path):
    attempts = Attempts(tmp_path)
    attempts.add(Attempt("web-1", "x.example", "2026-11-30T12:00:00", 1.0, 0, "timeout", "slow"))
    attempts.flush()
    again = Attempts(tmp_path)
    again.add(Attempt("web-1", "x.example", "2026-11-30T03:00:00", 1.0, 9, "", ""))  # the clock was set back
    again.flush()
    assert Attempts(tmp_path).last_kind("web-1") == ""
