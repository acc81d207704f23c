"""What language models would be asked by a build, and what that costs. Nothing is asked, and no ledger is changed."""

from __future__ import annotations

import dataclasses
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from aria_data.errors import DatasetCorrupt
from aria_data.llm import Forecast, Llm
from aria_data.records import Candidate
from aria_data.storage import local_copy
from flows.engine.context import BuildContext
from flows.engine.stages import ANNOTATE, SCREEN
from flows.plan.replay import Replay


class PlanContext(BuildContext):
    """A context whose language models read a copy of the dataset's ledger: a plan writes nothing into a dataset."""

    ledger: Path

    def _model(self, name: str) -> Llm:
        config = dataclasses.replace(self.config.llm, model=name or self.config.llm.model)
        return Llm(config, self.ledger, run_id=self.run_id)


@contextmanager
def ledger_copy(root: Path) -> Iterator[Path]:
    """Give a copy of the dataset's ledger, or the place for an empty one, that is deleted afterwards."""
    original = root / "llm" / "ledger.sqlite"
    with tempfile.TemporaryDirectory(prefix="aria-data-plan-") as folder:
        copy = Path(folder) / "ledger.sqlite"
        if original.is_file():
            try:
                original = local_copy(original)
                with (
                    closing(sqlite3.connect(f"{original.absolute().as_uri()}?mode=ro", uri=True)) as source,
                    closing(sqlite3.connect(copy)) as target,
                ):
                    source.backup(target)
            except sqlite3.Error as error:
                raise DatasetCorrupt(f"{original}: cannot be read ({error}).") from error
        yield copy


def forecasts(replay: Replay) -> dict[str, Forecast]:
    """The forecast of each stage that asks a model; those that ask none are not in it."""
    context, found = replay.context, {}
    if context.config.screen.scorer == "llm" and context.llm is not None:
        found[SCREEN.name] = _screening(context.llm, context.config.screen, _candidates(replay, SCREEN.name))
    if context.config.annotate.annotator == "llm" and context.annotator is not None:
        found[ANNOTATE.name] = _annotation(
            context.annotator, context.config.annotate, _candidates(replay, ANNOTATE.name)
        )
    return found


def _candidates(replay: Replay, stage: str) -> list[Candidate]:
    return [item.payload for item, _ in replay.work[stage].todo]


def _screening(llm: Llm, config: Any, candidates: Sequence[Candidate]) -> Forecast:
    from aria_data.screen.digits import digit_task
    from aria_data.screen.screening import screen_questions, screen_task

    task = digit_task() if llm.config.scoring == "digits" else screen_task()
    return llm.forecast(task, screen_questions(candidates, config))


def _annotation(llm: Llm, config: Any, candidates: Sequence[Candidate]) -> Forecast:
    from aria_data.annotate.annotation import questions_about
    from aria_data.annotate.model_tags import annotation_task

    return llm.forecast(annotation_task(), questions_about(candidates, config))
