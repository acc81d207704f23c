"""One run at a time in a dataset, whatever its deployment: a run that meets another waits for it.

What decides is the dataset's own lock, which also keeps commands apart and is free again however its holder ended. A
concurrency limit of Prefect's cannot: it counts runs, not datasets, and knows of no command.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from aria_data.errors import DatasetLocked

ASK_EVERY_S = 5.0
Result = TypeVar("Result")
log = logging.getLogger(__name__)


def in_turn(work: Callable[[], Result], wait_minutes: float) -> Result:
    """Do the work as soon as nobody else works in the dataset. Raises `DatasetLocked` after `wait_minutes`."""
    end = time.monotonic() + 60 * wait_minutes
    is_said = False
    while True:
        try:
            return work()
        except DatasetLocked as error:
            if time.monotonic() >= end:
                raise
            if not is_said:
                log.warning("This run waits for its turn: %s", error)
                is_said = True
        time.sleep(min(ASK_EVERY_S, max(0.0, end - time.monotonic())))
