"""A worker process: calls the functions it is asked to call, and sends what they give. Nothing is decided here.

It runs what may crash, such as decoders. `python worker.py FD` is the process, `workers` starts it; as a script, it
imports nothing but what it calls.
"""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

IDLE_S = 60.0  # a worker that nobody asked for so long ends; the next call starts another one

READY, SENT, GIVEN, RAISED = "ready", "sent", "given", "raised"


def serve(connection: Connection) -> None:
    """Answer calls, (name of a function, arguments), until the other side is gone.

    A function is called with `send` and its arguments, and is named as "module:function".
    """
    connection.send((READY, None))
    while connection.poll(IDLE_S):
        name, arguments = connection.recv()
        try:
            result = _function(name)(lambda value: connection.send((SENT, value)), *arguments)
        except (BrokenPipeError, ConnectionResetError):
            return
        except Exception as error:
            connection.send((RAISED, error))
        else:
            connection.send((GIVEN, result))


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the build, which then closes its side
    with contextlib.suppress(EOFError, OSError):
        serve(Connection(int(sys.argv[1])))
