"""A process that reads what comes from outside gives the answer to what it was asked, or none, and can be ended."""

from __future__ import annotations

import pytest
from places import SUPPORT

from aria_data.text.reader_process import ReaderProcess


@pytest.fixture
def answering(monkeypatch):
    """A process that prints lines of its own before it is ready, as libraries do when they are imported."""
    monkeypatch.syspath_prepend(str(SUPPORT))
    process = ReaderProcess("answering")
    yield process
    process.close()


def test_lines_that_a_library_prints_at_the_start_are_no_answers(answering):
    assert answering.ask(b"1\n", 60.0) == b"answer to 1\n"
    assert answering.ask(b"2\n", 60.0) == b"answer to 2\n"


def test_one_that_does_not_answer_in_time_is_ended_and_another_is_started(answering):
    assert answering.ask(b"for ever\n", 0.2) is None
    assert answering.ask(b"3\n", 60.0) == b"answer to 3\n"


def test_one_that_ends_gives_no_answer(answering):
    assert answering.ask(b"end\n", 60.0) is None
    assert answering.ask(b"x" * 1_000_000 + b"\n", 60.0) == b"answer to " + b"x" * 1_000_000 + b"\n"


def test_one_that_does_not_start_is_an_error_that_says_how():
    with pytest.raises(OSError, match="ends at its start, with [0-9]+"):
        ReaderProcess("no_such_module_of_anything").ask(b"1\n", 1.0)
