"""Functions that tests call in worker processes: some end them, as a decoder with a fault does."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aria_data.audio.whole import Answer, Order, decode_whole


def count(send: Callable[[Any], None], number: int) -> tuple[int, bool]:
    """Send the numbers up to `number`; give the process's id and whether heavy libraries were imported."""
    for each in range(number):
        send(each)
    return os.getpid(), bool({"torch", "prefect", "librosa"} & set(sys.modules))


def fail(send: Callable[[Any], None]) -> None:
    raise ValueError("no such thing")


def die_once(send: Callable[[Any], None], marks: str, number: int, how: int) -> int:
    """Send numbers, and die in the middle of them the first time."""
    for each in range(number):
        if each == number // 2 and not Path(marks).exists():
            Path(marks).touch()
            os.kill(os.getpid(), how)
        send(each)
    return os.getpid()


def die(send: Callable[[Any], None], how: int) -> None:
    os.kill(os.getpid(), how)
    time.sleep(60)


def decode_or_die(send: Callable[[Any], None], root: str, order: Order) -> Answer:
    """Decode; a file whose name says so ends the process half way."""
    if "poison" in order.location:
        send_some(send, root, order)
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(60)
    return decode_whole(send, root, order)


class _Enough(Exception):
    pass


def send_some(send: Callable[[Any], None], root: str, order: Order) -> None:
    def once(block: Any) -> None:
        send(block)
        raise _Enough

    with contextlib.suppress(_Enough):
        decode_whole(once, root, order)


class _Unsendable(Exception):
    def __init__(self) -> None:
        super().__init__("a lock inside")
        self.lock = threading.Lock()


class _Unreadable(Exception):
    def __init__(self, one: str, other: str):
        super().__init__(f"{one} {other}")


def raise_what_cannot_be_sent(send: Callable[[Any], None]) -> None:
    raise _Unsendable


def raise_what_cannot_be_read(send: Callable[[Any], None]) -> None:
    raise _Unreadable("a lock", "inside")


def sleep(send: Callable[[Any], None], seconds: float) -> None:
    time.sleep(seconds)


def setting(send: Callable[[Any], None], name: str) -> None:
    """Send the value of an environment variable."""
    send(os.environ.get(name))
