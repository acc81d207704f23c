"""Every block of README.md and docs/ is run as it is printed, or says why it is not; what it names exists."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import page_worlds
import pytest
from pages import MARKS, RUN, WHY_NOT_RUN, Reader, begins_with, blocks_of, commands_of, pages, parse
from places import ROOT
from web_server import Site

from aria_data.pruning import ScoreTable

ALL = [block for page in pages() for block in blocks_of(page)]
NOT_RUN = [block for block in ALL if "not run" in block.marks]
SLOW = {"docs/tutorials/train-on-a-subset.md"}  # pages of more than some seconds: `make test-all` runs them


@pytest.fixture(scope="session", autouse=True)
def kept(tmp_path_factory):
    page_worlds.KEPT[:] = [tmp_path_factory.mktemp("kept")]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)  # small matrices: threads would wait for each other
    return tmp_path


def recital(site: Site) -> str:
    """The site that pages crawl: two recitals under a licence, and one that states none."""
    licence = '<link rel="license" href="https://creativecommons.org/licenses/by/4.0/">'
    titles = ["Chopin: Nocturnes for solo piano", "Bach: Partita, solo piano", "Schubert: Impromptu, solo piano"]
    for number, title in enumerate(titles):
        site.add_audio(f"/{number}.flac", 40, number + 1)
        site.add_page(f"/{number}.html", title, [f"/{number}.flac"], head=licence if number < 2 else "")
    site.add_page("/recitals/", "Recitals for solo piano", links=[f"/{number}.html" for number in range(3)])
    item = {"id": "7", "title": "Nocturne, solo piano", "artist": "someone", "licence": "cc-by"}
    answer = json.dumps({"items": [item | {"audio": site.address("/0.flac")}]})
    site.add("/api", answer, "application/json")
    site.add("/robots.txt", "User-agent: *\nAllow: /\n", "text/plain")
    return site.address("")


def losses_fall(printed: list[str]) -> None:
    losses = [float(loss) for text in printed for loss in re.findall(r"epoch \d: loss ([0-9.]+)", text)]
    assert len(losses) == 3
    assert losses[2] < losses[0]


def scores_are_in_the_table(printed: list[str]) -> None:
    table = ScoreTable.load(Path("dataset/scores/mine.parquet"))
    assert table.ids == ("a.mid", "b.mid", "c.mid")
    assert set(table.columns) >= {"loss", "el2n", "grand_window", "effort"}
    assert all(np.isfinite(table.columns[name]).all() for name in ("loss", "el2n", "grand_window", "effort"))


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "docs/training.md": losses_fall,
    "docs/pruning.md": scores_are_in_the_table,
}


def of_page(page: str) -> object:
    return pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else [])


@pytest.mark.parametrize(
    "page", [of_page(page) for page in pages() if set(RUN) & {b.language for b in blocks_of(page)}]
)
def test_a_reader_who_copies_the_blocks_of_a_page_gets_what_it_says(page, folder, monkeypatch):
    with Site() as site:
        reader = Reader(folder, monkeypatch, recital(site))
        for name in begins_with(page):
            page_worlds.WORLDS[name](folder)
        printed = []
        for block in blocks_of(page):
            if "not run" not in block.marks:
                reader.read(block)
                printed.append(reader.printed)
    CHECKS.get(page, lambda printed: None)(printed)


@pytest.mark.parametrize("block", NOT_RUN, ids=str)
def test_a_block_that_is_not_run_says_why_and_its_commands_exist(block):
    assert block.marks["not run"].startswith(WHY_NOT_RUN), block
    for words in commands_of(block) if block.language == "sh" else ():
        if words[0] == "aria-data":
            try:
                parse(words)
            except click.ClickException as error:
                if "does not exist" not in error.format_message():  # a folder of the reader's
                    pytest.fail(f"{block}: {' '.join(words)}: {error.format_message()}")
        if words[0] == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(words[1:]) <= set(targets), block


def test_every_block_says_its_language_and_every_mark_is_known():
    for block in ALL:
        assert block.language, f"{block}: say sh, python, text ..."
        assert set(block.marks) <= set(MARKS), block
        assert "output" not in block.marks or block.language == "text", block


def test_every_world_that_a_page_begins_with_exists():
    for page in pages():
        assert set(begins_with(page)) <= page_worlds.WORLDS.keys(), page


def links() -> list[tuple[str, str]]:
    found = []
    for page in [*pages(), "CONTRIBUTING.md", "SECURITY.md", "aria_data/architecture.md", "manifests/README.md"]:
        text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
        found += [(page, target) for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    return found


def test_every_link_leads_to_a_file_and_a_heading_that_is_there():
    for page, target in links():
        path, _, heading = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target} is not there"
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings]
            assert heading in slugs, f"{page}: {target} has no such heading"


def test_every_page_of_docs_can_be_reached_from_the_readme():
    reached, waiting = set(), ["README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            found = [target.partition("#")[0] for source, target in links() if source == page]
            paths = [((ROOT / page).parent / target).resolve() for target in found if target.endswith(".md")]
            waiting += [str(path.relative_to(ROOT)) for path in paths if str(path.relative_to(ROOT)) in pages()]
    assert set(pages()) - reached == set()
