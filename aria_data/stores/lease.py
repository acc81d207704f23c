"""The lock of a dataset in an object store: a lease that its holder renews, and that others take over when it does not.

    DATASET/.lock/00000007.json     who holds it; the highest number counts

Taking it is one conditional put of the next number, so only one of several succeeds. The holder writes its own object
again every few seconds. How long ago that was is told by the store's clock alone: another object is written, and the
two times are compared; clocks of machines may differ. A holder that could not renew in time, because it was stopped or
cut off, has to take the next number before it writes anything, and stops where another command has.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from aria_data.errors import AriaDataError, DatasetLocked, UsageError
from aria_data.stores.object_paths import ObjectPath, before_writing
from aria_data.stores.store_errors import StoreUnreachable

LEASE = "ARIA_DATA_LEASE_S"  # an environment variable
LEASE_S = 60.0  # ours: four renewals may fail before another command takes over
OWN_SHARE = 0.75  # of the lease: so long the holder itself trusts it without having renewed it
BEATS = 5  # renewals a lease
JOIN_S = 5.0  # to wait for the last renewal
_MARK = "now-"  # names of objects that are written to learn the store's time
_held: dict[ObjectPath, Lease] = {}  # of this process, by root


class LeaseLost(DatasetLocked):
    """Another command took the dataset's lock over, because this one did not renew it in time."""

    reason = "lease_lost"


@contextmanager
def held_lease(path: ObjectPath, holder: dict[str, Any]) -> Iterator[None]:
    """Hold the lock of the dataset in which `path`, its `.lock`, is. `holder` says who: pid, host, user, since.

    Raises `DatasetLocked` at once where another command holds it.
    """
    root = path.parent
    if root in _held:
        raise DatasetLocked(f"{root}: this process is working in this dataset already. Wait for it to end.")
    lease = Lease(path, holder)
    lease.take()
    _held[root] = lease
    beat = threading.Thread(target=lease.beat, name="lease", daemon=True)
    beat.start()
    try:
        yield
    finally:
        lease.ended.set()
        beat.join(JOIN_S)
        del _held[root]
        if not beat.is_alive():  # else the store does not answer, and the lease ends by itself
            lease.free()


def require_lease(path: ObjectPath) -> None:
    """Raise `LeaseLost` where this process works in the dataset of `path` under a lock that it has no more."""
    for root, lease in list(_held.items()):
        if path.key.is_relative_to(root.key) and lease.path not in (path, path.parent):
            lease.require()


before_writing.append(require_lease)


class Lease:
    """One holding of a lock, from `take` to `free`. Safe for threads."""

    def __init__(self, path: ObjectPath, holder: dict[str, Any]):
        self.path, self.lease_s = path, _lease_s()
        self._holder = {**holder, "token": secrets.token_hex(8), "lease_s": self.lease_s}
        self._number, self._renewed, self._is_lost = 0, 0.0, False
        self._successor: dict[str, Any] = {}
        self._lock = threading.RLock()
        self.ended = threading.Event()

    def take(self) -> None:
        """Take the lock. Raises `DatasetLocked`."""
        number, other = self._newest()
        if other and not other.get("is_free"):
            left_s = self._seconds_left(number, float(other.get("lease_s", LEASE_S)))
            if left_s > 0:
                raise DatasetLocked(
                    f"{self.path.parent}: another build is working in this dataset. Wait for it to end."
                    f"{_who(other)} If it was killed, its lock is free in {left_s:.0f} s."
                )
        if not self._take_number(number + 1):
            raise DatasetLocked(f"{self.path.parent}: another build began to work in this dataset. Try again.")
        with suppress(StoreUnreachable):
            for old in self.path.glob("*"):  # of earlier holders, and of those who were killed while they looked
                if old.name.startswith(_MARK) or old < self._object(self._number):
                    old.unlink(missing_ok=True)

    def _take_number(self, number: int) -> bool:
        """Take the lock by this number, which is one more than the highest seen; False where another was faster.

        A number that was taken and deleted since can be made again, but not be the highest: its successor is older.
        """
        began, mine = _now(), self._object(number)
        if not mine.create(self._content()):
            return False
        if max(self._objects()) != mine:
            mine.unlink(missing_ok=True)
            return False
        self._number, self._renewed = number, began
        return True

    def beat(self) -> None:
        """Renew the lease until `ended`, whatever fails; runs in a thread. `require` finds out what does not pass."""
        while not self.ended.wait(self.lease_s / BEATS):
            with suppress(Exception):  # a refusal may pass, too, as of credentials that are about to be renewed
                self.renew()

    def renew(self) -> None:
        """Say that the holder lives. Raises `LeaseLost` where another command has taken the lock."""
        with self._lock:
            began = _now()
            if self._is_lost:
                raise self._lost()
            if began - self._renewed > OWN_SHARE * self.lease_s:  # another may be taking it: take it as they do
                number, other = self._newest()
                if number != self._number or not self._take_number(number + 1):
                    self._is_lost, self._successor = True, other
                    raise self._lost()
                return
            self._object(self._number).write_bytes(self._content())
            self._renewed = began

    def require(self) -> None:
        """Raise `LeaseLost` unless the lock is held; asks the store only where it was not renewed in time."""
        if self._is_lost or _now() - self._renewed > OWN_SHARE * self.lease_s:
            self.renew()

    def free(self) -> None:
        """Let go of the lock, unless it is another's, or may be one's by now."""
        is_own = not self._is_lost and _now() - self._renewed < OWN_SHARE * self.lease_s
        with suppress(AriaDataError, OSError):
            if is_own:
                self._object(self._number).write_bytes(self._content(is_free=True))

    def _lost(self) -> LeaseLost:
        return LeaseLost(
            f"{self.path.parent}: this command did not reach the object store for {self.lease_s:.0f} s, and another "
            f"one works in this dataset now.{_who(self._successor)} Nothing more is written here; wait for it to end."
        )

    # ------------------------------------------------------------ objects

    def _object(self, number: int) -> ObjectPath:
        return self.path / f"{number:08}.json"

    def _objects(self) -> list[ObjectPath]:
        return list(self.path.glob("????????.json"))

    def _newest(self) -> tuple[int, dict[str, Any]]:
        for path in reversed(self._objects()):
            try:
                return int(path.stem), json.loads(path.read_bytes())
            except FileNotFoundError:  # its successor deleted it just now
                continue
            except ValueError:
                return int(path.stem), {}
        return 0, {}

    def _content(self, is_free: bool = False) -> bytes:
        return json.dumps({**self._holder, "is_free": is_free}).encode() + b"\n"

    def _seconds_left(self, number: int, lease_s: float) -> float:
        """For how long the holder's lease still runs, by the store's clock."""
        mark = self.path / f"{_MARK}{self._holder['token']}"
        try:
            mark.write_bytes(b"")
            now, renewed = mark.info().modified, self._object(number).info().modified
        except FileNotFoundError:  # somebody is faster
            return lease_s
        finally:
            mark.unlink(missing_ok=True)
        return lease_s - _seconds_between(renewed, now) + 1.0  # stores tell whole seconds


def _seconds_between(then: datetime | None, now: datetime | None) -> float:
    return (now - then).total_seconds() if now is not None and then is not None else 0.0


def _now() -> float:
    """Seconds that run on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _lease_s() -> float:
    text = os.environ.get(LEASE) or str(LEASE_S)
    try:
        return max(1.0, float(text))
    except ValueError:
        raise UsageError(f"{LEASE}={text!r}: is no number of seconds.") from None


def _who(holder: dict[str, Any]) -> str:
    try:
        return (
            f" It is process {int(holder['pid'])} on {holder['host']}, user {holder['user']}, since {holder['since']}."
        )
    except (KeyError, TypeError, ValueError):
        return ""
