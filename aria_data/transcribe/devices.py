"""Transcribe on several devices, a process each: it loads the model, asks for spans when it has room, sends notes."""

from __future__ import annotations

import atexit
import dataclasses
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from aria_data.errors import TemporaryError, UsageError
from aria_data.transcribe import backends
from aria_data.transcribe.backends import ANYWHERE, DEFAULT
from aria_data.transcribe.base import Compute, TranscribeConfig, TranscriptionResult
from aria_data.transcribe.spans import Span, transcribe_spans


def devices_of(compute: Compute) -> list[str]:
    """Give the names of the devices: all GPUs for "auto" (without one, "cpu"), or those listed between commas."""
    if compute.device == "auto":
        import torch

        return [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu"]
    return [device.strip() for device in compute.device.split(",") if device.strip()] or ["auto"]


def load_everywhere(config: TranscribeConfig = DEFAULT, compute: Compute = ANYWHERE) -> Any:
    """Load the model on every device that `compute` names: a `Transcriber`, or a `TranscriberPool` of them.

    `spans.transcribe_spans` takes either. Raises `UsageError` for a device that cannot be used.
    """
    devices = devices_of(compute)
    if len(devices) == 1:
        return backends.load(config, dataclasses.replace(compute, device=devices[0]))
    return TranscriberPool(config, compute, devices)


class TranscriberPool:
    """The same transcriber on several devices. Its processes end with this one; `close` ends them earlier.

    Each process calls `load` for itself.
    """

    def __init__(
        self,
        config: TranscribeConfig,
        compute: Compute,
        devices: list[str],
        load: Callable[[TranscribeConfig, Compute], Any] = backends.load,
    ):
        self._remaining: Iterator[Span] = iter(())
        self._again: deque[Span] = deque()  # of a device that died; each is tried once more
        self._tried: set[str] = set()
        self._workers = [_Worker(config, dataclasses.replace(compute, device=device), load) for device in devices]
        atexit.register(self.close)  # before the interpreter waits for its children
        for worker in self._workers:
            worker.wait_until_ready()
        first = self._workers[0].facts
        self.name, self.sha256, self.precision = first["name"], first["sha256"], first["precision"]
        self.sample_rate, self.num_channels = first["sample_rate"], first["num_channels"]
        self.heads_sha256: str = first["heads_sha256"]

    def transcribe_spans(
        self, spans: Iterable[Span], on_read: Callable[[str, float], None]
    ) -> Iterator[tuple[str, TranscriptionResult | Exception]]:
        """See `spans.transcribe_spans`. When a device's process dies, its spans go to the others, once each."""
        self._remaining, self._tried = iter(spans), set()
        for worker in self._workers:
            worker.begin()
        while any(worker.is_busy for worker in self._workers):
            for connection in wait([worker.connection for worker in self._workers if worker.is_busy]):
                worker = next(one for one in self._workers if one.connection is connection)
                yield from self._attend(worker, on_read)
            if self._again and not any(worker.is_busy for worker in self._workers):
                for worker in self._workers:
                    worker.begin()
        for span in (*self._again, *self._remaining):  # no device is left
            yield span.key, _died("every device")
        self._again.clear()

    def _attend(
        self, worker: _Worker, on_read: Callable[[str, float], None]
    ) -> Iterator[tuple[str, TranscriptionResult | Exception]]:
        try:
            kind, *values = worker.connection.recv()
            if kind == "next":
                span = self._again.popleft() if self._again else next(self._remaining, None)
                worker.give(span)
            elif kind == "read":
                on_read(*values)
            elif kind == "result":
                worker.given.pop(values[0], None)
                yield values[0], values[1]
            else:
                worker.is_busy = False
        except (EOFError, OSError):
            worker.is_busy, worker.is_alive = False, False
            for key, span in worker.given.items():
                if key in self._tried:
                    yield key, _died(worker.device)
                else:
                    self._tried.add(key)
                    self._again.append(span)
            worker.given.clear()

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.connection.close()
            worker.process.join(timeout=5)
            worker.process.kill()


def _died(device: str) -> TemporaryError:
    return TemporaryError(f"the process of {device} ended. Look for its error above; build again with fewer at once.")


class _Worker:
    """This process's side of one device's process."""

    def __init__(self, config: TranscribeConfig, compute: Compute, load: Callable[[TranscribeConfig, Compute], Any]):
        context = multiprocessing.get_context("spawn")
        self.device = compute.device
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, config, compute, load))  # has children: no daemon
        self.process.start()
        theirs.close()
        self.facts: dict[str, Any] = {}
        self.given: dict[str, Span] = {}
        self.is_busy, self.is_alive = False, True

    def wait_until_ready(self) -> None:
        try:
            answer = self.connection.recv()
        except EOFError as error:
            raise UsageError(f"--device {self.device}: its process ended while it loaded the model.") from error
        if isinstance(answer, Exception):
            raise answer
        self.facts = answer

    def begin(self) -> None:
        if self.is_alive:
            self.is_busy = True
            self._send("begin")

    def give(self, span: Span | None) -> None:
        if span is not None:
            self.given[span.key] = span
        self._send(span)

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # when it has died, receiving finds out
            self.connection.send(message)


def _work(
    connection: Connection,
    config: TranscribeConfig,
    compute: Compute,
    load: Callable[[TranscribeConfig, Compute], Any],
) -> None:
    """Load the model, then transcribe the spans that are sent, round after round, until the other side is gone."""
    try:
        try:
            model = load(config, compute)
        except Exception as error:
            connection.send(error)
            return
        names = ("name", "sha256", "precision", "sample_rate", "num_channels")
        heads = getattr(model, "heads_sha256", "")  # not every backend has any
        connection.send({name: getattr(model, name) for name in names} | {"heads_sha256": heads})

        def asked() -> Iterator[Span]:
            while True:
                connection.send(("next",))
                span = connection.recv()
                if span is None:
                    return
                yield span

        while connection.recv() == "begin":
            for key, result in transcribe_spans(model, asked(), lambda key, s: connection.send(("read", key, s))):
                connection.send(("result", key, result))
            connection.send(("end",))
    except (EOFError, OSError, KeyboardInterrupt):
        pass
