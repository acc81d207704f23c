"""Connects `aria_data.collect.Crawl` to a dataset: its tables, the build's screen stage, budgets, opt-outs."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from aria_data.collect import Crawl, CrawlConfig, CrawlSummary, Frontier
from aria_data.collect.queries import queries_by_model
from aria_data.config import BuildConfig
from aria_data.records import Candidate, Screening
from aria_data.release import Removals
from aria_data.screen import ScreenConfig, screen
from aria_data.storage.local_copies import fetch_database, give_back_database
from aria_data.storage.rows_of_records import from_row
from aria_data.storage.stage_tables import Outcome, StageTable
from aria_data.storage.work_keys import work_key
from aria_data.web import OptOuts, read_opt_outs
from flows.engine.context import BuildContext, NotDone
from flows.engine.items import screening_item
from flows.engine.stages import SCREEN

COLLECT = "collect"
STOPS = {"budget_spent": "dollars", "llm_stopped": "model"}  # errors that every further candidate would meet, too
SCREEN_SHARD = 500  # candidates screened together

Report = Callable[[CrawlSummary], None]


def run_crawl(
    context: BuildContext, config: CrawlConfig, opt_outs: OptOuts, report: Report = lambda summary: None
) -> CrawlSummary:
    """Crawl into the context's dataset. The caller holds its lock."""
    context.requests.max_requests = config.max_requests
    kept = context.root / "crawl" / "frontier.sqlite"
    frontier = Frontier(fetch_database(kept))
    screener = _Screener(context)
    try:
        return Crawl(
            config=config,
            frontier=frontier,
            web=context.web,
            screen=screener.screen,
            pack=screener.pack,
            export=screener.export,
            hint_score=hint_score,
            write_queries=_query_writer(context, config),
            licences=tuple(context.config.download.licences),
            is_left_alone=lambda candidate: opt_outs.reason_for(candidate) is not None,
            report=report,
        ).run()
    finally:
        frontier.close()
        give_back_database(kept)


def collect_source(context: BuildContext, source: str, opt_outs: OptOuts, report: Report) -> CrawlSummary:
    """Collect the candidates of one address, list or search, without neighbours and without budgets."""
    config = replace(
        context.config.crawl,
        seeds=(source,),
        has_neighbours=False,
        max_candidates=0,
        max_requests=0,
        max_minutes=0.0,
        candidates_per_lead=0,
    )
    return run_crawl(context, config, opt_outs, report)


def opt_outs_of(root: Path, config: BuildConfig) -> OptOuts:
    """The opt-outs of a dataset: what was removed for good, and what the files of `download.opt_outs` name."""
    found = read_opt_outs(config.download.opt_outs)
    found.add((removal.item_id, removal.reason) for removal in Removals(root).by_id().values())
    return found


def hint_score(words: str) -> int:
    """How likely the words of a link mean solo piano, 1 to 5, by the rules of `aria_data.screen`."""
    return screen(Candidate("", "web", "", "", words), ScreenConfig()).relevance_score


def observation(candidate: Candidate) -> Outcome:
    """A candidate as a row of the collect table."""
    key = work_key(COLLECT, 1, {}, {"candidate": candidate.candidate_id, "at": candidate.collected_at})
    return Outcome(candidate.candidate_id, key, "done", record=candidate)


def _query_writer(context: BuildContext, config: CrawlConfig) -> Callable[[Sequence[str]], list[str]] | None:
    if config.queries != "llm" or context.llm is None:
        return None
    return functools.partial(queries_by_model, llm=context.llm)


class _Screener:
    """Screens candidates by the build's own stage, so that a build finds the screenings done."""

    def __init__(self, context: BuildContext):
        self._context = context
        self._outcomes: dict[str, Outcome] = {}
        self._collected = StageTable(context.root, COLLECT, Candidate)
        self._screened = StageTable(context.root, SCREEN.name, Screening)

    def screen(self, candidates: Sequence[Candidate]) -> tuple[Mapping[str, Screening], str]:
        ended = ""
        self._outcomes.clear()
        items = [screening_item(candidate) for candidate in candidates]
        for start in range(0, len(items), SCREEN_SHARD):
            try:
                for outcome in SCREEN.work(self._context, SCREEN, items[start : start + SCREEN_SHARD]):
                    self._outcomes[outcome.item_id] = outcome
            except NotDone as error:  # the leads of these candidates are followed again later
                ended = next((STOPS[reason] for reason in error.reasons if reason in STOPS), "")
                if ended:
                    break
        return {key: outcome.record for key, outcome in self._outcomes.items() if outcome.record is not None}, ended

    def pack(self, candidate: Candidate, screening: Screening) -> str:
        outcome = self._outcomes[screening.candidate_id]
        return json.dumps({"candidate": asdict(candidate), "outcome": asdict(outcome)}, ensure_ascii=False)

    def export(self, lines: Sequence[str]) -> None:
        rows = [json.loads(line) for line in lines]
        self._collected.append(observation(from_row(Candidate, row["candidate"])) for row in rows)
        self._screened.append(
            dataclasses.replace(
                Outcome(**{**row["outcome"], "record": None}), record=from_row(Screening, row["outcome"]["record"])
            )
            for row in rows
        )
