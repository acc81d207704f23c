"""From a crawl to a dataset, over a site with faults: every candidate accounted for, nothing fetched twice."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from fakes import use_fakes
from web_server import Site, announces, cut_after, endless, redirect, sound, status

from aria_data.errors import DatasetNotWritable, UsageError
from aria_data.manifest import Manifest
from aria_data.records import Attempt, Candidate, Download, Rejection
from aria_data.release import Removals
from aria_data.storage.stage_tables import RecordTable, StageTable
from flows.cli.jobs import run_build, run_crawl, run_fetch, run_retry
from flows.engine import downloads

SETTINGS = (
    "web.allow_private=true", "web.min_interval_s=0", "web.jitter=0", "web.max_failures=1000", "web.max_wait_s=2",
    "download.max_tries=2", "download.backoff_s=0", "download.max_bytes=5000000",
    "segment.min_segment_s=4", "segment.lead_s=0", "segment.tail_s=0", "ingest.min_duration_s=1",
)  # fmt: skip
NOW = "download.retry_s=0"  # what failed for a passing reason is due at once


@pytest.fixture
def site():
    with Site() as site:
        yield site


@dataclasses.dataclass
class Dataset:
    """A dataset and the commands on it, in this process and with stand-ins for the networks."""

    root: Path

    def crawl(self, *seeds: str, more: tuple[str, ...] = ()):
        return run_crawl(self.root, None, (*SETTINGS, f"crawl.seeds={json.dumps(seeds)}", *more), lambda summary: None)

    def build(self, source: str | Path | None = None, *more: str):
        return run_build(source, self.root, None, (*SETTINGS, *more), with_prefect=False)

    def fetch(self, *more: str):
        return run_fetch(self.root, None, (*SETTINGS, *more))

    def retry(self, *kinds: str, more: tuple[str, ...] = ()):
        return run_retry(self.root, kinds, None, (*SETTINGS, *more))

    def candidates(self) -> dict[str, Candidate]:
        return {one.record.title: one.record for one in StageTable(self.root, "collect", Candidate).all()}

    def rejections(self) -> dict[str, tuple[str, str]]:
        """Title -> (stage, reason)."""
        title_of = {one.candidate_id: title for title, one in self.candidates().items()}
        found = RecordTable(self.root, "rejections", Rejection).read()
        return {title_of[one.candidate_id]: (one.stage, one.reason) for one in found}

    def attempts(self) -> Counter[tuple[str, str]]:
        """(title, kind) -> how often."""
        title_of = {one.candidate_id: title for title, one in self.candidates().items()}
        found = StageTable(self.root, "attempts", Attempt).all()
        return Counter((title_of[one.item_id], one.record.kind) for one in found)

    def titles(self) -> set[str]:
        """Of what is in the newest version of the manifest."""
        return {row["title"] for row in Manifest(self.root).rows() if row["removed_in"] is None}

    def audio(self) -> list[str]:
        return sorted(path.name for path in (self.root / "audio").rglob("*") if path.is_file())


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    use_fakes(monkeypatch)
    return Dataset(tmp_path / "dataset")


def add_item(site: Site, name: str, answer: Any = None, number: int = 0, head: str = "") -> str:
    """A page "Solo piano <name>" with one audio file, which `answer` gives, or which is there."""
    path = f"/{name.replace(' ', '-')}.flac"
    site.add_audio(path, number=number) if answer is None else site.route(path, answer)
    return site.add_page(path.replace(".flac", ".html"), f"Solo piano {name}", [path], head=head)


def said(seconds: int) -> str:
    """What a page says of its audio's length."""
    return f'<meta property="music:duration" content="{seconds}">'


FLAC = sound(8)
FAULTS = {
    # name: (answer, head, stage and kind in the ledger; "" = not done, and what the attempts say)
    "gone": (status(404), "", "download", "gone"),
    "private": (status(401), "", "download", "private"),
    "forbidden": (status(403), "", "", "forbidden"),
    "rights": (status(451), "", "download", "copyright"),
    "a page": (lambda handler: handler.give(200, b"<html>no</html>"), "", "download", "unsupported"),
    "no audio": (lambda handler: handler.give(200, b"x" * 999, "audio/flac"), "", "download", "corrupt"),
    "wrong length": (None, said(60), "download", "corrupt"),
    "long": (None, said(20_000), "download", "too-long"),
    "huge": (announces(10_000_000_000), "", "download", "too-long"),
    "endless": (endless("audio/flac"), "", "download", "too-long"),
    "circle": (redirect("/circle.flac"), "", "download", "unsupported"),
    "noai": (lambda handler: handler.give_file(FLAC, "audio/flac", x_robots_tag="noai"), "", "download", "robots"),
    "silent": (lambda handler: handler.give_file(silence(), "audio/flac"), "", "ingest", "silent"),
    "same": (lambda handler: handler.give_file(sound(8, 1), "audio/flac"), "", "deduplicate", "same_bytes"),
    "broken": (status(500), "", "", "network"),
    "cut": (cut_after(FLAC, 20_000), "", "", "network"),
    "busy": (status(429), "", "", "rate-limited"),
}  # fmt: skip


def silence() -> bytes:
    import io

    import numpy as np
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(16_000 * 6), 16_000, format="FLAC")
    return buffer.getvalue()


FEW = ("gone", "long", "no audio", "broken", "cut", "busy")


def faulty_site(site: Site, names: Iterable[str] = FAULTS) -> str:
    pages = [add_item(site, f"good {number}", number=number) for number in range(1, 4)]
    pages += [add_item(site, name, FAULTS[name][0], head=FAULTS[name][1]) for name in names]
    pages.append(site.add_page("/violin.html", "Violin concerto", ["/violin.flac"]))
    return site.add_page("/index.html", "Piano recitals", links=pages)


def test_every_candidate_of_a_faulty_site_is_in_the_books_with_its_kind(site, dataset):
    crawled = dataset.crawl(faulty_site(site))
    assert (crawled.num_new, crawled.num_accepted) == (len(FAULTS) + 4, len(FAULTS) + 3)
    assert not [path for path in site.hits if path.endswith(".flac")]
    summary = dataset.build()
    late = [name for name, (_, _, stage, _) in FAULTS.items() if not stage]
    expected = {f"Solo piano {name}": (stage, kind) for name, (_, _, stage, kind) in FAULTS.items() if stage}
    expected["Violin concerto"] = ("screen", "relevance_score_below_min")
    assert dataset.rejections() == expected
    books = summary.candidates
    assert books.num_in == len(FAULTS) + 4 == sum(dataclasses.astuple(books)[1:])
    assert (books.num_in_manifest, books.num_not_done) == (3, len(late))
    assert dataset.titles() == {f"Solo piano good {number}" for number in range(1, 4)}
    attempts = dataset.attempts()
    for name, (_, _, stage, kind) in FAULTS.items():
        assert attempts[f"Solo piano {name}", kind if stage in ("", "download") else ""] == 1, name
    assert site.hits["/violin.flac"] == site.hits["/long.flac"] == 0
    files = [name for name in dataset.audio() if not name.endswith((".partial", ".partial.json"))]
    assert len(files) == 5  # three good ones, the silent one, the same again
    assert len([name for name in dataset.audio() if name.endswith(".partial")]) == 1  # the cut one goes on later


def test_a_second_build_fetches_nothing_and_makes_no_version(site, dataset):
    dataset.crawl(faulty_site(site, FEW))
    first = dataset.build()
    asked = Counter(site.hits)
    second = dataset.build()
    assert site.hits == asked
    assert (second.version, second.is_new_version) == (first.version, False)
    assert second.candidates == first.candidates
    assert not [name for name in dataset.audio() if name.endswith(".json")][1:]  # but the cut one's


def test_what_failed_for_a_passing_reason_is_fetched_when_it_is_due_and_what_failed_for_good_is_not(site, dataset):
    dataset.crawl(faulty_site(site, FEW))
    dataset.build()
    for name in FEW:
        site.add_audio(f"/{name.replace(' ', '-')}.flac", number=50)
    asked = Counter(site.hits)
    summary = dataset.build(None, NOW)
    again = {path for path in site.hits if site.hits[path] > asked[path]} - {"/robots.txt", "/.well-known/tdmrep.json"}
    assert again == {"/broken.flac", "/cut.flac", "/busy.flac"}
    assert summary.candidates.num_not_done == 0


def test_retry_fetches_again_only_what_failed_for_the_kind_named(site, dataset):
    dataset.crawl(faulty_site(site, FEW))
    dataset.build()
    for name in FEW:
        site.add_audio(f"/{name.replace(' ', '-')}.flac", number=60)
    asked = Counter(site.hits)
    fetched = dataset.retry("gone", "rate-limited")
    again = {path for path in site.hits if site.hits[path] > asked[path]} - {"/robots.txt", "/.well-known/tdmrep.json"}
    assert again == {"/gone.flac", "/busy.flac"}
    assert (fetched.num_fetched, fetched.kinds) == (2, {})
    assert dataset.attempts()["Solo piano gone", "retry"] == 1
    dataset.build()
    assert "Solo piano gone" in dataset.titles() | set(dataset.rejections())
    assert dataset.rejections().get("Solo piano gone", ("", ""))[0] != "download"


def test_a_permanent_failure_stays_one_after_a_retry_that_fails_and_is_not_tried_by_itself(site, dataset):
    dataset.crawl(faulty_site(site, FEW))
    dataset.build()
    assert dataset.retry("gone").kinds == {"gone": 1}
    assert site.hits["/gone.flac"] == 2
    dataset.build()
    dataset.build(None, NOW)
    assert site.hits["/gone.flac"] == 2
    assert dataset.attempts()["Solo piano gone", "gone"] == 2


@pytest.mark.slow
def test_retry_without_a_kind_means_what_may_pass(site, dataset):
    dataset.crawl(faulty_site(site, FEW))
    dataset.build()
    asked = Counter(site.hits)
    summary = dataset.retry()
    again = {path for path in site.hits if site.hits[path] > asked[path] and path.endswith(".flac")}
    assert again == {"/broken.flac", "/cut.flac", "/busy.flac", "/no-audio.flac"}
    assert summary.kinds == {"network": 2, "corrupt": 1, "rate-limited": 1}


def test_after_so_many_attempts_only_a_person_tries_again(site, dataset):
    dataset.crawl(add_item(site, "broken", status(500)))
    for _ in range(5):
        dataset.build(None, NOW, "download.max_attempts=3")
    assert dataset.attempts()["Solo piano broken", "network"] == 3
    summary = dataset.build(None, NOW, "download.max_attempts=3")
    assert "aria-data retry" in summary.not_done[0]
    site.add_audio("/broken.flac")
    assert dataset.retry("network", more=("download.max_attempts=3",)).num_fetched == 1


def test_a_host_that_rests_costs_its_candidates_no_attempts(site, dataset):
    pages = [add_item(site, f"n{number}", status(503, retry_after="9000")) for number in range(6)]
    dataset.crawl(site.add_page("/index.html", "Piano", links=pages))
    summary = dataset.build(None, "download.num_parallel=1")
    assert summary.candidates.num_not_done == 6
    assert sum(count for path, count in site.hits.items() if path.endswith(".flac")) == 1
    for number in range(6):
        site.add_audio(f"/n{number}.flac", number=number)
    assert dataset.build(None, "download.num_parallel=1").candidates.num_not_done <= 1


def test_fetch_alone_fetches_and_a_build_then_finds_all_of_it(site, dataset):
    dataset.crawl(faulty_site(site))
    fetched = dataset.fetch()
    assert (fetched.num_fetched, fetched.num_fetched_before) == (5, 0)
    assert fetched.kinds == Counter(kind for _, _, stage, kind in FAULTS.values() if stage in ("", "download"))
    asked = Counter(site.hits)
    summary = dataset.build()
    assert summary.candidates.num_in_manifest == 3
    assert site.hits == asked
    assert dataset.fetch().num_fetched_before == 5


def test_audio_that_was_deleted_by_hand_is_fetched_again(site, dataset):
    dataset.crawl(add_item(site, "one", number=1))
    dataset.build()
    record = StageTable(dataset.root, "download", Download).all()[0].record
    (dataset.root / record.audio_path).unlink()
    summary = dataset.build()
    assert (site.hits["/one.flac"], summary.is_new_version, dataset.titles()) == (2, False, {"Solo piano one"})


def test_the_limits_of_ingest_decide_whether_what_was_fetched_is_whole(site, dataset):
    content = sound(10, format_="wav")
    cut = content[: round(len(content) * 0.95)]
    url = site.route("/cut.wav", lambda handler: handler.give_file(cut, "audio/wav"))
    (failure,) = dataset.build(url).failures
    assert "is cut short: 9.5 s decode of the 10.0 s" in failure
    assert dataset.build(None, "ingest.min_decoded_share=0.9", NOW).num_files == 1
    num_requests = site.hits["/cut.wav"]
    stricter = dataset.build(None, "ingest.min_decoded_share=0.99")
    assert (stricter.num_files, len(stricter.failures), site.hits["/cut.wav"]) == (0, 1, num_requests)
    assert dataset.build(None, "ingest.min_decoded_share=0.94").num_files == 1
    assert site.hits["/cut.wav"] == num_requests


def test_a_limit_that_is_lowered_later_rejects_what_was_fetched_and_sends_no_request(site, dataset):
    dataset.crawl(add_item(site, "one", number=1))
    dataset.build()
    asked = Counter(site.hits)
    dataset.build(None, "download.max_duration_s=5.0")
    assert dataset.rejections() == {"Solo piano one": ("download", "too-long")}
    dataset.build(None, 'download.licences=["cc0"]')
    assert dataset.rejections() == {"Solo piano one": ("download", "licence")}
    dataset.build(None, "download.licences=[]", "download.max_duration_s=99.0")
    assert dataset.titles() == {"Solo piano one"}
    assert site.hits == asked


@pytest.mark.parametrize(
    "entry", ["id", *(pytest.param(one, marks=pytest.mark.slow) for one in ("uploader", "domain", "address", "audio"))]
)
def test_who_is_removed_is_neither_fetched_nor_in_a_later_version_nor_crawled_again(site, dataset, entry):
    head = '<meta name="author" content="Jane Doe">'
    pages = [add_item(site, "one", number=1, head=head), add_item(site, "two", number=2)]
    seed = site.add_page("/index.html", "Piano", links=pages)
    dataset.crawl(seed)
    dataset.build()
    assert dataset.titles() == {"Solo piano one", "Solo piano two"}
    one = dataset.candidates()["Solo piano one"]
    named = {
        "id": one.candidate_id, "address": one.source_url.replace("http:", "HTTP:") + "?utm_source=x#top",
        "audio": one.location, "uploader": "uploader:JANE  doe", "domain": "domain:127.0.0.1",
    }[entry]  # fmt: skip
    Removals(dataset.root).add([named], "asked")
    asked = Counter(site.hits)
    summary = dataset.build()
    gone = {"Solo piano one", "Solo piano two"} if entry == "domain" else {"Solo piano one"}
    assert dataset.titles() == {"Solo piano one", "Solo piano two"} - gone
    assert {title for title, (stage, reason) in dataset.rejections().items() if reason == "removed"} == gone
    assert summary.candidates.num_in == 2
    shutil.rmtree(dataset.root / "crawl")  # a crawl from the beginning
    for name in ("collect", "screen", "download"):
        shutil.rmtree(dataset.root / "tables" / name)
    dataset.crawl(seed)
    assert set(dataset.candidates()) == {"Solo piano one", "Solo piano two"} - gone
    dataset.build()
    assert dataset.titles() == {"Solo piano one", "Solo piano two"} - gone
    assert site.hits["/one.flac"] == asked["/one.flac"]


def test_an_opt_out_file_is_obeyed_before_anything_is_fetched(site, dataset, tmp_path):
    add_item(site, "one", number=1)
    dataset.crawl(site.address("/one.html"))
    listed = tmp_path / "opt-outs.txt"
    listed.write_text(f"# ours\n{site.address('/one.html')}  # asked\n")
    summary = dataset.build(None, f'download.opt_outs=["{listed}"]')
    assert (summary.candidates.num_rejected, site.hits["/one.flac"]) == (1, 0)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "txt"])
def test_a_list_of_addresses_is_a_source_and_every_row_is_in_the_books(site, dataset, tmp_path, kind):
    site.add_audio("/one.flac", number=1), site.add_audio("/two.flac", number=2)
    page = add_item(site, "three", number=3)
    path = tmp_path / f"list.{kind}"
    urls = [site.address("/one.flac"), site.address("/two.flac"), page, "nonsense", site.address("/gone.flac")]
    if kind == "csv":
        path.write_text("url,title\n" + "".join(f"{url},{'Solo piano' if 'flac' in url else ''}\n" for url in urls))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"url": url}) + "\n" for url in urls))
    else:
        path.write_text("# mine\n" + "\n".join(urls))
    summary = dataset.build(path)
    books = summary.candidates
    assert (books.num_in, books.num_in_manifest, books.num_not_done) == (5, 3, 0)
    assert Counter(reason for _, reason in dataset.rejections().values()) == {"refused": 1, "gone": 1}
    asked = Counter(site.hits)
    assert not dataset.build(path).is_new_version
    audio = {path: count for path, count in site.hits.items() if path.endswith(".flac")}
    assert audio == {path: asked[path] for path in audio}


@pytest.mark.parametrize("seed", ["/three.html", "/three.flac", "/feed"])
def test_a_single_address_is_a_source(site, dataset, seed):
    add_item(site, "three", number=3)
    site.add_feed("/feed", [("Solo piano three", "/three.flac")])
    summary = dataset.build(site.address(seed))
    assert (summary.candidates.num_in, summary.candidates.num_in_manifest) == (1, 1)


def test_a_source_that_does_not_answer_is_a_line_and_no_traceback(site, dataset):
    summary = dataset.build(site.route("/a.html", status(404)))
    assert (summary.candidates.num_in, len(summary.failures)) == (0, 1)
    assert "gone" in summary.failures[0]


def test_neighbours_of_a_single_source_are_not_followed(site, dataset):
    add_item(site, "two", number=2)
    site.add_audio("/one.flac", number=1)
    page = site.add_page("/one.html", "Solo piano one", ["/one.flac"], ["/two.html"])
    dataset.build(page)
    assert (dataset.titles(), site.hits["/two.html"]) == ({"Solo piano one"}, 0)


@pytest.mark.parametrize("source", ["nothing-here", "ftp://a.org/", "nosuch:thing", "list:/nowhere.csv"])
def test_a_source_that_is_none_is_refused_in_one_line(dataset, source):
    with pytest.raises(UsageError) as caught:
        dataset.build(source)
    assert "\n" not in str(caught.value)


def test_an_allow_list_of_licences_reaches_the_manifest(site, dataset):
    free = '<link rel="license" href="https://creativecommons.org/licenses/by/4.0/">'
    pages = [add_item(site, "free", number=1, head=free), add_item(site, "unknown", number=2)]
    more = ('download.licences=["cc0", "cc-by"]',)
    dataset.crawl(site.add_page("/index.html", "Piano", links=pages), more=more)
    dataset.build(None, *more)
    assert dataset.titles() == {"Solo piano free"}
    assert dataset.rejections() == {"Solo piano unknown": ("download", "licence")}
    assert site.hits["/unknown.flac"] == 0


def test_hostile_titles_reach_the_manifest_as_plain_text(site, dataset):
    evil = "Solo piano \x1b[31m\u202e\x00 ../../etc <b> " + "x" * 1_000_000
    site.add_audio("/a.flac")
    site.add("/a.html", f"<title>{evil}</title><audio src='/a.flac'></audio>")
    dataset.build(site.address("/a.html"))
    (title,) = dataset.titles()
    assert title.startswith("Solo piano")
    assert len(title) <= 500
    assert not [char for char in title if ord(char) < 32]


def test_addresses_with_keys_are_fetched_and_the_keys_are_nowhere_in_the_dataset(site, dataset):
    site.add_audio("/a.flac"), site.route("/b.flac", status(404)), site.route("/c.flac", status(500))
    listed = dataset.root.parent / "list.txt"
    listed.write_text("\n".join(site.address(f"/{name}.flac?part=7") for name in "abc"))
    summary = dataset.build(listed)
    assert (summary.candidates.num_in_manifest, site.hits["/a.flac?part=7"]) == (1, 1)


def test_a_clock_that_was_wrong_does_not_make_a_candidate_wait_for_years(site, dataset, monkeypatch):
    dataset.crawl(add_item(site, "one", status(500)))
    with monkeypatch.context() as patch:
        patch.setattr(downloads, "now", lambda: "2099-01-01T00:00:00.000000+00:00")
        dataset.build()
    site.add_audio("/one.flac", number=1)
    assert dataset.build().candidates.num_in_manifest == 1


@pytest.mark.parametrize(
    "is_announced",
    [pytest.param(True, marks=pytest.mark.slow), False],
    ids=["seen before", "found out while it comes"],
)
def test_a_full_disk_stops_a_fetch_in_one_line_and_space_mends_it(site, dataset, small_disk, monkeypatch, is_announced):
    wav = sound(60, 1, "wav")  # 1.9 MB
    for number in range(3):
        answer = given(sound(60, number, "wav"), is_announced)
        site.route(f"/{number}.wav", answer)
        site.add_page(f"/{number}.html", f"Solo piano {number}", [f"/{number}.wav"])
    assert len(wav) > 1_900_000
    full = Dataset(small_disk / "dataset")
    full.crawl(site.add_page("/index.html", "Piano", links=[f"/{number}.html" for number in range(3)]))
    with pytest.raises(DatasetNotWritable, match="no space left"):
        full.build(None, "download.num_parallel=1")
    assert not full.rejections()
    shutil.copytree(full.root, dataset.root)
    assert dataset.build(None, "ingest.min_duration_s=1").candidates.num_in_manifest == 3


def given(content: bytes, is_announced: bool) -> Any:
    """A file, with its length or without."""
    if is_announced:
        return lambda handler: handler.give_file(content, "audio/wav")

    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "audio/wav")
        handler.end_headers()
        handler.wfile.write(content)
        handler.close_connection = True

    return answer
