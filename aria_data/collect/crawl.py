"""Crawl: follow leads, screen the candidates they give, follow the neighbours of accepted ones, within budgets.

A round follows a few leads at the same time, screens all new candidates together, and writes everything to the
frontier at once. The next round starts from the frontier, so a killed crawl goes on with the round it was in.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

from aria_data.collect.frontier import Followed, Frontier, Seen
from aria_data.collect.queries import query_by_rule
from aria_data.collect.sources import follow, require
from aria_data.collect.sources.base import Lead, LeftOut, parse_seed
from aria_data.errors import AriaDataError, TemporaryError, UsageError
from aria_data.records import Candidate, Screening
from aria_data.storage import printable
from aria_data.web import HostResting, RequestsSpent, Web, canonical, is_address, kind_of, licence_code

SEARCH_OF = {"youtube": "ytsearch", "soundcloud": "scsearch"}  # sites yt-dlp can search
SEARCH_PROMISE = 0.6  # ours: a search finds more known candidates, and fewer good ones, than an uploader's page
HINT_SHARE = {5: 1.0, 4: 0.95, 3: 0.8, 2: 0.4, 1: 0.2}  # ours: share of a page's priority, by a link text's score
DAY_S = 86_400.0
EXPORT_AT = 1000  # candidates: a commit to the tables takes as long for one as for many
log = logging.getLogger(__name__)
REST_S = 300.0  # before a lead at a resting host is followed again


@dataclass(frozen=True)
class CrawlConfig:
    """The limits of a run of a crawl; 0 means no limit. Numbers are ours where no source is named.

    Raises `ValueError` for another value of `queries`.
    """

    seeds: tuple[str, ...] = ()  # addresses, or SOURCE:TARGET; Aria-MIDI began with 50
    max_candidates: int = 1000
    max_requests: int = 2000
    max_minutes: float = 60.0
    max_depth: int = 4  # steps from a seed
    candidates_per_lead: int = (
        100  # from the beginning of what was found on the way, and of a search; seeds are taken whole
    )
    min_relevance_score: int = 4  # from which a candidate is accepted, 1 to 5; Aria-MIDI kept 3 or 4 and more
    leads_at_once: int = 8
    queries: str = "rules"  # writes searches from accepted titles: "rules", or "llm" where a model screens anyway
    has_neighbours: bool = True  # False: only what the seeds themselves hold
    revisit_days: float = 7.0  # after this time, seeds, feeds and searches are followed again

    def __post_init__(self) -> None:
        if self.queries not in ("rules", "llm"):
            raise ValueError(f"queries is rules or llm, not {self.queries!r}.")


@dataclass(frozen=True)
class CrawlSummary:
    """How a run of a crawl ended."""

    stopped_by: (
        str  # "frontier" (nothing left), "candidates", "requests", "minutes", "dollars", "model" (gone), "resting"
    )
    num_leads: int
    num_candidates: int  # seen in this run, with those known before
    num_new: int
    num_accepted: int
    num_requests: int
    num_waiting: int  # leads
    seconds: float
    failures: dict[str, int] = field(default_factory=dict)  # leads by kind
    lines: list[str] = field(default_factory=list)  # one a lead that failed, or of which something was left out


class Screen(Protocol):
    """Screens candidates. Gives a screening by id (none for a candidate that could not be screened now) and the reason
    why screening ended for this run, "dollars" or "model", or ""."""

    def __call__(self, candidates: Sequence[Candidate]) -> tuple[Mapping[str, Screening], str]: ...


@dataclass
class Crawl:
    """One run of a crawl. `pack` makes a line of a new candidate and its screening. The line waits in the frontier's
    outbox until `export` has stored it; after a kill in between, `export` gets it a second time."""

    config: CrawlConfig
    frontier: Frontier
    web: Web
    screen: Screen
    pack: Callable[[Candidate, Screening], str]
    export: Callable[[Sequence[str]], None]
    hint_score: Callable[[str], int] = lambda words: 3
    write_queries: Callable[[Sequence[str]], list[str]] | None = None  # from titles; None: by rule
    licences: tuple[str, ...] = ()
    is_left_alone: Callable[[Candidate], bool] = lambda candidate: False  # opted out: neither screened nor stored
    report: Callable[[CrawlSummary], None] = lambda summary: None
    clock: Callable[[], float] = time.time
    num_seen: int = 0  # candidates, when the run began

    def run(self) -> CrawlSummary:
        """Follow leads until nothing is left or a budget is used up. Raises `UsageError` for a bad seed."""
        seeds = [parse_seed(seed) for seed in self.config.seeds]
        for seed in seeds:
            require(seed.source)
        began, totals, failed = self.clock(), Counter[str](), Counter[str]()
        lines: list[str] = []
        self.frontier.add_seeds(seeds, again=not self.config.has_neighbours)
        self.num_seen = self.frontier.counts()["seen"]
        self.frontier.revisit(began - self.config.revisit_days * DAY_S)
        stopped_by = ""
        self._export()
        with ThreadPoolExecutor(max(1, self.config.leads_at_once)) as pool:
            while not stopped_by:
                leads = self.frontier.next_leads(self.config.leads_at_once, self._max_depth, self.clock())
                if not leads:
                    stopped_by = "resting" if self.frontier.num_ready(self._max_depth) else "frontier"
                    break
                answers = list(pool.map(self._follow, leads))
                followed, packed, stopped_by = self._round(answers, totals["new"])
                self.frontier.finish_round(followed, self.clock(), packed)
                self._export(at_least=EXPORT_AT)
                for one in followed:
                    totals.update(leads=1, candidates=one.num_candidates, new=len(one.candidates))
                    totals["accepted"] += sum(seen.is_accepted for seen in one.candidates)
                    if one.kind and not one.is_cut:
                        failed[one.kind] += 1
                        lines.append(f"{one.lead}: {one.kind} ({one.detail})")
                    elif one.left_out and not one.is_cut:
                        advice = "; raise crawl.candidates_per_lead" if one.is_by_limit else ""
                        lines.append(f"{one.lead}: left out are {one.left_out}{advice}")
                stopped_by = stopped_by or self._spent(totals["new"], began)
                self.report(self._summary("", totals, failed, lines, began))
        self._export()
        return self._summary(stopped_by, totals, failed, lines, began)

    def _export(self, at_least: int = 1) -> None:
        while self.frontier.num_in_outbox() >= at_least:
            last, lines = self.frontier.outbox(EXPORT_AT)
            self.export(lines)
            self.frontier.clear_outbox(last)

    @property
    def _max_depth(self) -> int:
        return self.config.max_depth or 1_000_000

    def _limit(self, lead: Lead) -> int:
        """How many candidates of a lead are taken. A seed is taken whole; what is beyond `max_candidates` comes in a
        later run, so those that are known do not count."""
        if lead.depth or lead.source == "search":
            return self.config.candidates_per_lead or 1_000_000
        return self.num_seen + self.config.max_candidates + 1 if self.config.max_candidates else 1_000_000

    def _follow(self, lead: Lead) -> tuple[Followed, list[Candidate]]:
        """Follow one lead. Failures are stored in `Followed`; only a `UsageError` is raised."""
        followed, candidates = Followed(lead), []
        if is_address(lead.target) and self.is_left_alone(Candidate("", "web", lead.target, lead.target, "")):
            followed.kind, followed.detail = "opted-out", "its holder or you had it removed"
            return followed, []
        try:
            for found in follow(lead, self.web, self._limit(lead)):
                if isinstance(found, Candidate):
                    candidates.append(found)
                elif isinstance(found, LeftOut):
                    followed.left_out = ", ".join(filter(None, (followed.left_out, found.what)))
                    followed.is_by_limit |= found.is_by_limit
                else:
                    followed.leads.append(found)
        except (RequestsSpent, HostResting) as error:
            followed.is_cut, followed.detail = True, str(error)
            followed.rest_s = REST_S if isinstance(error, HostResting) else 0.0
            followed.leads.clear()
            return followed, []
        except UsageError:
            raise
        except AriaDataError as error:
            followed.kind, followed.detail = kind_of(error), printable(str(error), 300)
            followed.is_temporary = isinstance(error, TemporaryError)
        except Exception as error:  # a page that makes this program fail must not end the crawl
            log.exception("%s", printable(str(lead)))
            followed.kind, followed.is_temporary = "network", True
            followed.detail = f"unexpected {type(error).__name__}: {printable(str(error), 200)}"
        return followed, candidates

    def _round(
        self, answers: Sequence[tuple[Followed, list[Candidate]]], num_new: int
    ) -> tuple[list[Followed], list[str], str]:
        """Screen the candidates of a round and choose neighbours. Gives (the leads with their results, packed
        candidates, the budget that ended the crawl or "")."""
        room = self.config.max_candidates - num_new if self.config.max_candidates else 1_000_000_000
        stopped_by, fresh = "", self._fresh(answers)
        for followed, candidates in fresh:
            if len(candidates) > room:
                followed.is_cut, stopped_by = True, "candidates"
                del candidates[max(room, 0) :]
                followed.leads.clear()
            room -= len(candidates)
        screenings, ended = self.screen([candidate for _, candidates in fresh for candidate in candidates])
        kept = []
        for followed, candidates in fresh:
            judged = [(one, screenings[one.candidate_id]) for one in candidates if one.candidate_id in screenings]
            if len(judged) < len(candidates):  # this lead is followed again for the rest
                followed.is_cut = followed.is_cut or bool(ended)
                followed.is_temporary, followed.kind = True, followed.kind or "network"
                followed.detail = followed.detail or "not all candidates could be judged now"
            kept += judged
            followed.candidates = [self._seen(*pair) for pair in judged]
            followed.leads = self._neighbours(followed, judged)
        if any(followed.is_cut and "requests" in followed.detail for followed, _ in fresh):
            stopped_by = "requests"
        return [followed for followed, _ in fresh], [self.pack(*pair) for pair in kept], stopped_by or ended

    def _fresh(self, answers: Sequence[tuple[Followed, list[Candidate]]]) -> list[tuple[Followed, list[Candidate]]]:
        """Keep the candidates that were not seen before, under this id or at this page; each at its first lead."""
        ids: set[str] = set()
        pages: set[str] = set()
        fresh = []
        for followed, candidates in answers:
            followed.num_candidates = len(candidates)
            allowed = [one for one in candidates if not self.is_left_alone(one)]
            if candidates and not allowed:
                followed.leads.clear()  # leads of an uploader who opted out are not followed
            new = []
            for one in allowed:
                page = _page_of(one)
                is_known = one.candidate_id in ids or page in pages or self.frontier.is_seen(one.candidate_id, page)
                if not is_known:
                    new.append(one)
                    ids.add(one.candidate_id)
            pages |= {_page_of(one) for one in new}
            fresh.append((followed, new))
        return fresh

    def _seen(self, candidate: Candidate, screening: Screening) -> Seen:
        is_accepted = screening.relevance_score >= self.config.min_relevance_score
        code = licence_code(candidate.licence)
        if self.licences and code != "unknown" and code not in self.licences:
            is_accepted = False
        return Seen(
            candidate.candidate_id, _page_of(candidate), candidate.title, screening.relevance_score, is_accepted
        )

    def _neighbours(self, followed: Followed, judged: Sequence[tuple[Candidate, Screening]]) -> list[Lead]:
        """Choose leads: parts of what was followed, links of pages with accepted candidates, uploaders, searches."""
        accepted = {seen.candidate_id for seen in followed.candidates if seen.is_accepted}
        is_promising = bool(accepted) or not judged or followed.lead.depth == 0
        best = max((pair[1].relevance_score for pair in judged), default=0) / 5 if accepted else followed.lead.priority
        parts = [lead for lead in followed.leads if lead.is_part]
        if not judged:  # a list whose pages bring nothing new ends at `max_depth`
            parts = [replace(lead, depth=max(lead.depth, followed.lead.depth + 1)) for lead in parts]
        leads = [replace(lead, priority=self._priority(lead, best)) for lead in parts]
        if not self.config.has_neighbours:
            return leads
        if is_promising:
            leads += [replace(lead, priority=self._priority(lead, best)) for lead in followed.leads if not lead.is_part]
        for candidate, screening in judged:
            if candidate.candidate_id in accepted:
                leads += neighbours_of(candidate, screening.relevance_score / 5, followed.lead)
        good = [pair[0] for pair in judged if pair[0].candidate_id in accepted and pair[0].source in SEARCH_OF]
        return leads + self._searches(good, followed.lead)

    def _searches(self, good: Sequence[Candidate], lead: Lead) -> list[Lead]:
        """Make searches from the titles of accepted candidates, at the sites they came from."""
        leads = []
        for site in sorted({candidate.source for candidate in good}):
            titles = [candidate.title for candidate in good if candidate.source == site]
            queries = self.write_queries(titles) if self.write_queries else map(query_by_rule, titles)
            via = f"accepted: {titles[0]}"[:200]
            for query in dict.fromkeys(filter(None, queries)):
                target = f"{SEARCH_OF[site]}:{query}"
                leads.append(Lead("search", target, lead.depth + 1, SEARCH_PROMISE, via, is_part=False))
        return leads

    def _priority(self, lead: Lead, best: float) -> float:
        share = HINT_SHARE[self.hint_score(lead.hint)] if lead.hint else HINT_SHARE[3]
        return round(best * share * 0.95**lead.depth, 6)

    def _spent(self, num_new: int, began: float) -> str:
        if self.config.max_candidates and num_new >= self.config.max_candidates:
            return "candidates"
        if self.config.max_minutes and self.clock() - began > 60 * self.config.max_minutes:
            return "minutes"
        budget = self.web.budget
        return "requests" if budget.max_requests and budget.num_requests >= budget.max_requests else ""

    def _summary(
        self, stopped_by: str, totals: Counter[str], failed: Counter[str], lines: list[str], began: float
    ) -> CrawlSummary:
        return CrawlSummary(
            stopped_by=stopped_by,
            num_leads=totals["leads"],
            num_candidates=totals["candidates"],
            num_new=totals["new"],
            num_accepted=totals["accepted"],
            num_requests=self.web.budget.num_requests,
            num_waiting=self.frontier.counts()["waiting"],
            seconds=self.clock() - began,
            failures=dict(failed.most_common()),
            lines=lines[-1000:],
        )


def neighbours_of(candidate: Candidate, promise: float, lead: Lead) -> list[Lead]:
    """Give leads to more candidates like an accepted one: its uploader's page. `promise` is 0 to 1."""
    via = f"{candidate.candidate_id} {candidate.title}"[:200]
    depth, leads = lead.depth + 1, []
    if candidate.uploader_url:
        leads.append(Lead("page", candidate.uploader_url, depth, round(promise * 0.9, 6), via, is_part=False))
    return leads


def _page_of(candidate: Candidate) -> str:
    """Give the address by which candidates are compared: of the page, or of the audio where a page has several."""
    return canonical(candidate.location)
