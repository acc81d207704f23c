"""A worker process: calls the functions it is asked to call, and sends what they give. Nothing is decided here.

It runs what may crash, such as decoders. `python worker.py FD IDLE_S [FUNCTION]` is the process, `processes.Worker`
starts it; as a script, it imports nothing but what it calls. FUNCTION serves instead of `serve`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

WATCH_S = 1.0
IDLE_S = 60.0  # a worker that nobody asked for so long ends; the next call starts another one

READY, SENT, GIVEN, RAISED = "ready", "sent", "given", "raised"


def serve(connection: Connection, idle_s: float = IDLE_S) -> None:
    """Answer calls, (name of a function, arguments), until the other side is gone or was silent for `idle_s`.

    A function is called with `send` and its arguments, and is named as "module:function".
    """
    connection.send((READY, None))
    while connection.poll(idle_s):
        name, arguments = connection.recv()
        try:
            result = function_named(name)(lambda value: connection.send((SENT, value)), *arguments)
        except (BrokenPipeError, ConnectionResetError):
            return
        except Exception as error:
            connection.send((RAISED, sendable(error)))
        else:
            connection.send((GIVEN, result))


def function_named(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def sendable(error: Exception) -> Exception:
    """The error itself, if another process can read it; else what it says."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def end_with(parent: int) -> None:
    """End this process, in the middle of whatever it does, soon after its parent has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    served = function_named(sys.argv[3]) if len(sys.argv) > 3 else serve
    end_with(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the build, which then closes its side
    with contextlib.suppress(EOFError, OSError):
        served(Connection(int(sys.argv[1])), float(sys.argv[2]))
