"""A crawl over a real site: budgets, loops, those who opted out; killed and continued."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from places import ROOT, SUPPORT
from web_server import Answer, Handler, Site, a_web, redirect, status

from aria_data.collect import Crawl, CrawlConfig, CrawlSummary, Frontier
from aria_data.collect import crawl as module
from aria_data.errors import DatasetNotWritable, UsageError
from aria_data.records import Attempt, Candidate, Download, Screening
from aria_data.screen import ScreenConfig, screen
from aria_data.storage import exclusive_lock
from aria_data.storage.stage_tables import StageTable
from aria_data.web import OptOuts, Web
from flows.show.crawl_tree import draw

CHILD = SUPPORT / "crawl_child.py"


@pytest.fixture
def site():
    with Site() as site:
        yield site


# The snowball


@dataclass
class World:
    """What a crawl needs besides a site: the frontier, the rules as the judge, and what it was given."""

    path: Path
    web: Web
    judged: list[str] = field(default_factory=list)
    exported: list[str] = field(default_factory=list)
    now: float = 1e9

    def crawl(self, **settings) -> CrawlSummary:
        more = {name: settings.pop(name) for name in ("licences", "is_left_alone", "screen") if name in settings}
        limits = {"max_candidates": 0, "max_requests": 0, "max_minutes": 0.0, "max_depth": 0, **settings}
        if limits["max_requests"]:
            self.web.budget.max_requests = self.web.budget.num_requests + limits["max_requests"]
        frontier = Frontier(self.path)
        given = {"screen": self.screen, **more}
        try:
            return Crawl(
                CrawlConfig(**limits), frontier, self.web, pack=lambda one, screening: one.candidate_id,
                export=self.exported.extend, clock=lambda: self.now, **given,
            ).run()  # fmt: skip
        finally:
            frontier.close()

    def screen(self, candidates):
        self.judged += [one.candidate_id for one in candidates]
        return {one.candidate_id: screen(one, ScreenConfig()) for one in candidates}, ""

    def rows(self, sql: str) -> list[tuple]:
        with sqlite3.connect(self.path) as db:
            found = db.execute(sql).fetchall()
        db.close()
        return found

    def titles(self) -> set[str]:
        return {title for (title,) in self.rows("SELECT title FROM seen")}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "frontier.sqlite", a_web())


def snow_site(site: Site, num_items: int = 500) -> tuple[set[str], set[str]]:
    """Linked items, each with two links on and one back. Every seventh is no piano, and is a dead end.

    Gives the titles that a crawl from item 0 must see, and those of them that it accepts.
    """
    is_piano = [number % 7 != 3 for number in range(num_items)]
    title = [f"{'Sonata for solo piano' if piano else 'Violin concerto'} no. {n}" for n, piano in enumerate(is_piano)]
    links = [[n for n in (2 * number + 1, 2 * number + 2, number // 3) if n < num_items] for number in range(num_items)]
    for number in range(num_items):
        site.add_page(f"/{number}.html", title[number], [f"/{number}.flac"], [f"/{n}.html" for n in links[number]])
    seen, waiting = {0}, [0]
    while waiting:
        for one in links[waiting.pop()]:
            if one not in seen:
                seen.add(one)
                waiting += [one] if is_piano[one] else []
    return {title[n] for n in seen}, {title[n] for n in seen if is_piano[n]}


def test_a_snowball_sees_exactly_what_can_be_reached_through_what_it_accepts(site, world):
    must_see, must_accept = snow_site(site)
    summary = world.crawl(seeds=(site.address("/0.html"),))
    assert world.titles() == must_see
    assert {title for (title,) in world.rows("SELECT title FROM seen WHERE is_accepted")} == must_accept
    assert (summary.stopped_by, summary.num_new, summary.num_accepted) == ("frontier", len(must_see), len(must_accept))
    assert 100 < len(must_see) < 500
    assert max(site.hits.values()) == 1
    assert sorted(world.exported) == sorted(world.judged)
    assert len(world.judged) == len(set(world.judged)) == len(must_see)


def test_a_second_run_asks_for_nothing_and_judges_nothing(site, world):
    snow_site(site, 60)
    world.crawl(seeds=(site.address("/0.html"),))
    asked, judged = sum(site.hits.values()), len(world.judged)
    summary = world.crawl(seeds=(site.address("/0.html"),))
    assert (sum(site.hits.values()), len(world.judged), summary.num_leads) == (asked, judged, 0)


def test_a_crawl_in_small_steps_finds_the_same_as_one_in_one_go(site, world, tmp_path):
    must_see, _ = snow_site(site, 40)
    for _ in range(200):
        summary = world.crawl(seeds=(site.address("/0.html"),), max_candidates=7)
        assert summary.num_new <= 7
        if summary.stopped_by == "frontier":
            break
    assert world.titles() == must_see
    assert len(world.judged) == len(must_see)


@pytest.mark.parametrize("limit", [1, 7, 8, 9, 50])
def test_a_budget_of_candidates_is_kept_to_the_one(site, world, limit):
    snow_site(site, 120)
    summary = world.crawl(seeds=(site.address("/0.html"),), max_candidates=limit)
    assert (summary.num_new, summary.stopped_by, len(world.exported)) == (limit, "candidates", limit)


@pytest.mark.parametrize("limit", [1, 3, 10, 37])
def test_a_budget_of_requests_is_kept_to_the_one(site, world, limit):
    snow_site(site, 120)
    summary = world.crawl(seeds=(site.address("/0.html"),), max_requests=limit)
    assert (summary.num_requests, sum(site.hits.values()), summary.stopped_by) == (limit, limit, "requests")


@pytest.mark.slow
def test_what_a_budget_of_requests_cut_is_made_good_by_the_next_runs(site, world):
    must_see, _ = snow_site(site, 30)
    for _ in range(100):
        if world.crawl(seeds=(site.address("/0.html"),), max_requests=7).stopped_by == "frontier":
            break
    assert world.titles() == must_see
    assert max(count for path, count in site.hits.items() if path.endswith(".html")) == 1


def test_a_budget_of_minutes_ends_a_crawl_after_its_round(site, world):
    snow_site(site, 120)
    real = world.screen

    def slowly(candidates):
        world.now += 61
        return real(candidates)

    summary = world.crawl(seeds=(site.address("/0.html"),), max_minutes=2.0, screen=slowly)
    assert (summary.stopped_by, summary.num_leads) == ("minutes", 1 + 2)


def test_every_candidate_and_lead_says_where_it_came_from_and_the_tree_shows_it(site, tmp_path):
    snow_site(site, 40)
    world = World(tmp_path / "crawl" / "frontier.sqlite", a_web())
    seed = site.address("/0.html")
    world.crawl(seeds=(seed,))
    parents = dict(world.rows("SELECT lead_id, parent FROM leads"))
    assert [one for one, parent in parents.items() if not parent] == [f"page:{seed}"]
    for one in parents:
        steps = 0
        while parents[one]:
            one, steps = parents[one], steps + 1
            assert steps < 50
    assert [via for via, depth in world.rows("SELECT via, depth FROM leads") if bool(via) != bool(depth)] == []
    lines = list(draw(tmp_path, "text", show_rejected=True))
    assert lines[0].startswith(f"page: {seed}")
    assert sum(" + 5 web-" in line for line in lines) == len(world.rows("SELECT 1 FROM seen WHERE is_accepted"))
    assert sum(" - 1 web-" in line for line in lines) == len(world.rows("SELECT 1 FROM seen WHERE NOT is_accepted"))
    rows = [json.loads(line) for line in draw(tmp_path, "json", show_rejected=True)]
    assert sum(len(row["candidates"]) for row in rows) == len(world.titles())
    dot = "\n".join(draw(tmp_path, "dot"))
    assert dot.count("->") == len([parent for parent in parents.values() if parent]) + len(
        world.rows("SELECT 1 FROM seen WHERE is_accepted")
    )


def test_a_title_cannot_break_the_tree(tmp_path, site):
    evil = 'x"]; evil -> graph; [label="\\\n\x1b[31m solo piano'
    world = World(tmp_path / "crawl" / "frontier.sqlite", a_web())
    world.crawl(seeds=(site.add_page("/a", evil, ["/a.flac"]),))
    for format_ in ("text", "dot", "json"):
        lines = list(draw(tmp_path, format_, show_rejected=True))
        assert not [line for line in lines if "\x1b" in line or "\n" in line]
    (label,) = [line for line in draw(tmp_path, "dot", show_rejected=True) if "label=" in line and "solo" in line]
    assert json.loads(label.split("label=", 1)[1].rpartition(", shape")[0]).startswith("5 x")


def calendar(site: Site, title: str) -> None:
    """A page for every month there will ever be, each linking to the next two."""

    def month(handler: Handler) -> None:
        number = int(handler.path.rpartition("=")[2] or 0)
        body = f"<title>{title} {number}</title>" + "".join(
            f'<a href="/calendar?month={n}">more</a>' for n in (number * 2 + 1, number * 2 + 2)
        )
        handler.give(200, body.encode())

    site.route("/calendar", month)


def test_a_calendar_without_end_is_left_at_the_depth_allowed(site, world):
    calendar(site, "Events")
    summary = world.crawl(seeds=(site.address("/calendar?month=0"),), max_depth=4)
    assert (summary.stopped_by, sum(path.startswith("/calendar") for path in site.hits)) == ("frontier", 2**5 - 1)


@pytest.mark.slow
def test_a_calendar_without_end_does_not_keep_a_crawl_from_what_is_good(site, world):
    calendar(site, "Events")
    site.add_page("/0.html", "Piano recitals", links=["/calendar?month=0", *(f"/p{n}.html" for n in range(30))])
    for number in range(30):
        site.add_page(f"/p{number}.html", f"Solo piano {number}", [f"/p{number}.flac"])
    world.crawl(seeds=(site.address("/0.html"),), max_requests=70)
    assert len(world.titles()) == 30


def test_loops_of_links_and_redirects_end(site, world):
    site.add_page("/a", "Solo piano a", ["/a.flac"], ["/b", "/a?utm_source=b", "/loop", "/again?n=0"])
    site.add_page("/b", "Solo piano b", ["/b.flac"], ["/a", "/b", "/a#x"])
    site.route("/loop", redirect("/loop"))
    counter = iter(range(1, 10**6))
    site.route("/again", lambda handler: handler.give(302, b"", location=f"/again?n={next(counter)}"))
    summary = world.crawl(seeds=(site.address("/a"),))
    assert (summary.stopped_by, world.titles()) == ("frontier", {"Solo piano a", "Solo piano b"})
    assert summary.failures == {"unsupported": 2}
    assert sum(count for path, count in site.hits.items() if path.startswith(("/again", "/loop"))) < 30


def test_one_page_under_many_names_is_one_candidate(site, world):
    links = [f"/x.html?utm_source={n}" for n in range(5)] + [f"/x.html?phpsessid={n}" for n in range(5)]
    site.add_page("/0.html", "Piano", links=[*links, "/y1.html", "/y2.html"])
    site.add_page("/x.html", "Solo piano x", ["/x.flac"])
    head = f'<link rel="canonical" href="{site.address("/y.html")}">'
    for name in ("y1", "y2"):
        site.add_page(f"/{name}.html", "Solo piano y", ["/y.flac"], head=head)
    world.crawl(seeds=(site.address("/0.html"),))
    assert len(world.judged) == 2
    assert sum(count for path, count in site.hits.items() if path.startswith("/x.html")) == 1


def test_who_opted_out_is_neither_judged_nor_stored_nor_followed(site, world):
    site.add_page("/0.html", "Piano", links=["/a.html", "/b.html"])
    site.add_page("/a.html", "Solo piano a", ["/a.flac"], ["/c.html"])
    site.add_page("/b.html", "Solo piano b", ["/b.flac"])
    site.add_page("/c.html", "Solo piano c", ["/c.flac"])
    opt_outs = OptOuts()
    opt_outs.add([(site.address("/a.html"), "asked")])
    world.crawl(seeds=(site.address("/0.html"),), is_left_alone=lambda one: opt_outs.reason_for(one) is not None)
    assert world.titles() == {"Solo piano b"}
    assert len(world.judged) == 1
    assert site.hits["/c.html"] == 0


@pytest.mark.parametrize("entry", ["/a.html", "domain:127.0.0.1"])
def test_an_address_that_opted_out_is_not_even_asked_for(site, world, entry):
    site.add_page("/0.html", "Piano", links=["/a.html"])
    site.add_page("/a.html", "Solo piano a", ["/a.flac"])
    opt_outs = OptOuts()
    opt_outs.add([(entry if ":" in entry else site.address(entry), "asked")])
    summary = world.crawl(
        seeds=(site.address("/0.html"),), is_left_alone=lambda one: opt_outs.reason_for(one) is not None
    )
    assert (site.hits["/a.html"], summary.failures, world.titles()) == (0, {"opted-out": 1}, set())


def test_a_page_that_the_program_cannot_take_does_not_end_the_crawl(site, world, monkeypatch):
    site.add_page("/0.html", "Piano", links=["/a.html", "/b.html"])
    site.add_page("/a.html", "Solo piano a", ["/a.flac"])
    site.add_page("/b.html", "Solo piano b", ["/b.flac"])
    real = module.follow

    def follow_(lead, web, limit):
        if lead.target.endswith("/a.html"):
            raise ZeroDivisionError("oops")
        return real(lead, web, limit)

    monkeypatch.setattr(module, "follow", follow_)
    summary = world.crawl(seeds=(site.address("/0.html"),))
    assert (world.titles(), summary.failures) == ({"Solo piano b"}, {"network": 1})
    assert "unexpected ZeroDivisionError" in summary.lines[0]


def test_what_has_another_licence_than_allowed_leads_nowhere(site, world):
    free = '<link rel="license" href="https://creativecommons.org/publicdomain/zero/1.0/">'
    bound = '<meta name="copyright" content="x"><link rel="license" href="http://a.org/all-rights-reserved">'
    site.add_page("/0.html", "Piano", links=["/a.html", "/b.html"])
    site.add_page("/a.html", "Solo piano a", ["/a.flac"], ["/c.html"], free)
    site.add_page("/b.html", "Solo piano b", ["/b.flac"], ["/d.html"], bound)
    site.add_page("/c.html", "Solo piano c", ["/c.flac"], head=free)
    site.add_page("/d.html", "Solo piano d", ["/d.flac"], head=free)
    world.crawl(seeds=(site.address("/0.html"),), licences=("cc0",))
    accepted = {title for (title,) in world.rows("SELECT title FROM seen WHERE is_accepted")}
    assert accepted == {"Solo piano a", "Solo piano c"}
    assert site.hits["/d.html"] == 0


def test_robots_txt_and_reservations_keep_a_crawl_out(site, world):
    site.add("/robots.txt", "User-agent: *\nDisallow: /secret", "text/plain")
    site.add_page("/0.html", "Piano", links=["/secret/a.html", "/b.html", "/c.html"])
    site.add_page("/secret/a.html", "Solo piano a", ["/a.flac"])
    site.add("/b.html", "<title>Solo piano b</title><audio src='/b.flac'>", tdm_reservation="1")
    site.add_page("/c.html", "Solo piano c", ["/c.flac"], head='<meta name="robots" content="noai">')
    summary = world.crawl(seeds=(site.address("/0.html"),))
    assert (world.titles(), summary.failures, site.hits["/secret/a.html"]) == (set(), {"robots": 3}, 0)


def test_a_page_that_fails_is_tried_in_a_later_run_and_found_then(site, world):
    site.add_page("/0.html", "Piano", links=["/a.html"])
    site.add_page("/a.html", "Solo piano a", ["/a.flac"])
    site.once("/a.html", status(503))
    first = world.crawl(seeds=(site.address("/0.html"),))
    assert (first.stopped_by, first.failures, world.titles()) == ("resting", {"network": 1}, set())
    world.now += 700
    assert world.crawl(seeds=(site.address("/0.html"),)).stopped_by == "frontier"
    assert (world.titles(), site.hits["/a.html"], site.hits["/0.html"]) == ({"Solo piano a"}, 2, 1)


def test_a_judge_that_is_away_loses_no_candidate(site, world):
    site.add_page("/0.html", "Solo piano", ["/a.flac"])
    first = world.crawl(seeds=(site.address("/0.html"),), screen=lambda candidates: ({}, ""))
    assert (first.num_new, first.stopped_by, world.titles()) == (0, "resting", set())
    world.now += 700
    world.crawl(seeds=(site.address("/0.html"),))
    assert world.titles() == {"Solo piano"}


def test_a_clock_that_goes_back_loses_nothing(site, world):
    must_see, _ = snow_site(site, 40)
    real = world.screen

    def backwards(candidates):
        world.now -= 50_000
        return real(candidates)

    world.crawl(seeds=(site.address("/0.html"),), screen=backwards, max_minutes=60.0)
    assert world.titles() == must_see


def test_seeds_are_looked_at_again_after_a_week_and_only_what_is_new_is_judged(site, world):
    site.add_feed("/feed", [("Solo piano 1", "/1.flac")])
    seed = f"feed:{site.address('/feed')}"
    world.crawl(seeds=(seed,))
    site.add_feed("/feed", [("Solo piano 2", "/2.flac"), ("Solo piano 1", "/1.flac")])
    world.now += 86_400
    world.crawl(seeds=(seed,))
    assert (site.hits["/feed"], len(world.judged)) == (1, 1)
    world.now += 7 * 86_400
    world.crawl(seeds=(seed,))
    assert (site.hits["/feed"], len(world.judged), world.titles()) == (2, 2, {"Solo piano 1", "Solo piano 2"})


def test_a_bad_seed_is_refused_before_anything_is_asked(site, world):
    for seed in ("nonsense", "ftp://a.org/", "nosuch:thing", "page:", "../../etc:passwd"):
        with pytest.raises(UsageError):
            world.crawl(seeds=(site.address("/a"), seed))
    assert not site.hits


def test_an_export_that_fails_is_made_good_by_the_next_run(site, world):
    site.add_page("/0.html", "Solo piano", ["/a.flac"])

    def full(lines):
        raise DatasetNotWritable("no space left")

    real, world.exported = world.exported, type("Full", (list,), {"extend": lambda self, lines: full(lines)})()
    with pytest.raises(DatasetNotWritable):
        world.crawl(seeds=(site.address("/0.html"),))
    world.exported = real
    world.crawl(seeds=(site.address("/0.html"),))
    assert len(world.exported) == len(world.judged) == 1


# Killed


class Children:
    """Real processes that crawl and fetch, one after another; see `crawl_child.py`."""

    def __init__(self, seed: str, out: Path):
        self.out = out
        self._parent = subprocess.Popen(
            [sys.executable, str(CHILD), seed, str(out)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{SUPPORT}"},
        )  # fmt: skip

    def run(self, kill_after_s: float | None = None) -> int:
        """Run one, kill it if it should be, and give how it ended."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write("run\n")
        self._parent.stdin.flush()
        process = int(self._parent.stdout.readline())
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            os.kill(process, signal.SIGKILL)
        return int(self._parent.stdout.readline())

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.communicate(timeout=300)  # a guard against hanging


def read_frontier(out: Path, sql: str) -> list[tuple]:
    """Rows of a frontier that a kill left, read from a copy: nobody mends it but the next run."""
    with tempfile.TemporaryDirectory() as folder:
        for path in (out / "crawl").glob("frontier.sqlite*"):
            shutil.copy(path, folder)
        db = sqlite3.connect(Path(folder) / "frontier.sqlite")
        try:
            return db.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return []  # it was killed before there were tables
        finally:
            db.close()


def state_of(out: Path) -> dict[str, Any]:
    """What a crawl and its downloads left: leads, candidates, tables, audio on disk."""
    latest = {outcome.item_id: outcome.record for outcome in StageTable(out, "download", Download).all()}
    return {
        "leads": read_frontier(out, "SELECT target, parent, state, depth, priority, num_new, num_accepted FROM leads"),
        "seen": read_frontier(out, "SELECT * FROM seen"),
        "outbox": read_frontier(out, "SELECT * FROM outbox"),
        "collected": {one.item_id: one.record.title for one in StageTable(out, "collect", Candidate).all()},
        "screened": {one.item_id: one.record.relevance_score for one in StageTable(out, "screen", Screening).all()},
        "fetched": {key: replace(record, fetched_at="") for key, record in latest.items()},
        "audio": sorted(str(path.relative_to(out)) for path in (out / "audio").rglob("*") if path.is_file()),
    }


def site_to_kill(site: Site) -> str:
    """Forty linked items, each answer taking long enough for a kill to meet it."""
    _, accepted = snow_site(site, 40)
    for title in accepted:
        number = int(title.rpartition(" ")[2])
        site.add_audio(f"/{number}.flac", seconds=2, number=number)
    site.routes = {path: slowly(answer) for path, answer in site.routes.items()}
    return site.address("/0.html")


def slowly(answer: Answer) -> Answer:
    def later(handler: Handler) -> None:
        time.sleep(0.02)
        answer(handler)

    return later


@pytest.mark.parametrize("num_kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_crawl_killed_at_random_moments_ends_with_the_same_and_asks_nothing_twice(num_kills, site, tmp_path):
    seed, killed = site_to_kill(site), tmp_path / "killed"
    with Children(seed, tmp_path / "whole") as children:
        assert children.run(kill_after_s=0) == -signal.SIGKILL  # the first pays for imports
        began = time.monotonic()
        assert children.run() == 0
        length_s = time.monotonic() - began
    whole = state_of(tmp_path / "whole")
    path_of = {key: urlsplit(record.fetched_from).path for key, record in whole["fetched"].items()}
    assert len(path_of) > 15
    site.hits.clear()
    moments, finished = random.Random(5), {}  # path -> how often it was asked when it was found finished
    with Children(seed, killed) as children:
        for number in range(num_kills):
            latest_s = length_s * (0.1 + 0.4 * number / num_kills)
            ended = children.run(kill_after_s=moments.uniform(0, latest_s))
            assert ended in (0, -signal.SIGKILL)
            done = [
                urlsplit(key).path for (key,) in read_frontier(killed, "SELECT target FROM leads WHERE state = 'done'")
            ]
            done += [path_of[path.stem] for path in (killed / "audio").rglob("*.flac")]
            for path in done:
                finished.setdefault(path, site.hits[path])
        assert children.run() == 0
    assert state_of(killed) == whole
    again = {path: site.hits[path] for path in finished if site.hits[path] != finished[path]}
    assert again == {}
    asked = Counter({path: count for path, count in site.hits.items() if path.endswith((".html", ".flac"))})
    assert asked.keys() == {*path_of.values(), *(urlsplit(row[0]).path for row in whole["leads"])}
    attempts = Counter(one.item_id for one in StageTable(killed, "attempts", Attempt).all())
    assert all(attempts[key] <= asked[path] for key, path in path_of.items())


def test_two_crawls_of_one_dataset_do_not_run_at_once(site, tmp_path):
    seed = site_to_kill(site)
    with Children(seed, tmp_path / "out") as children, exclusive_lock(tmp_path / "out" / ".lock"):
        assert children.run() == 1
    assert not site.hits
