"""Whether an outcome that is recorded still stands: failures of the surroundings are no verdicts on an item."""

from __future__ import annotations

from aria_data.audio.integrity import READER, REFUSALS
from aria_data.storage.stage_tables import FAILED, Outcome
from aria_data.web import is_address
from flows.engine.context import BuildContext, Item, Stage
from flows.workers.processes import POISON

PASSING = frozenset({"unreadable", "file_missing", "io_error", "audio_changed"})  # recorded by earlier code


def is_passing(outcome: Outcome) -> bool:
    """Whether an outcome is a fault of the surroundings, which earlier code recorded as the file's own for ever."""
    is_of_disk = "Input/output error" in outcome.detail or "Permission denied" in outcome.detail
    return outcome.status == FAILED and (outcome.reason in PASSING or is_of_disk)


def is_doubtful(context: BuildContext, outcome: Outcome) -> bool:
    """Whether an item is said to kill its workers by a build that did not come to its end: what killed the build may
    have killed them, so the next one tries the item again."""
    return outcome.status == FAILED and outcome.reason == POISON and outcome.item_id not in context.quarantined


def still_stands(context: BuildContext, stage: Stage, outcome: Outcome) -> bool:
    """Whether an outcome that is recorded is taken as it is: its work is not done again."""
    return stage.is_intact(context, outcome) and not is_passing(outcome) and not is_doubtful(context, outcome)


def is_settled(outcome: Outcome) -> bool:
    """Whether every later build of this code finds the same."""
    return outcome.status != FAILED or (outcome.reader >= READER and not is_passing(outcome))


def is_outdated(context: BuildContext, item: Item, outcome: Outcome) -> bool:
    """Whether today's code may read what earlier code refused for good: audio that is there, and what a server answered
    with 403, which was taken for a wish for an account."""
    location = getattr(item.payload, "location", "")
    if outcome.status != FAILED or outcome.reader >= READER or not location:
        return False
    if is_address(location):
        return outcome.reason == "private" and "answers 403" in outcome.detail
    return outcome.reason in REFUSALS and context.path_of(location).is_file()
