"""Read mutated texts in a process of its own, as a crawl, a fetch, a build and a language model's client do.

`python reading.py FOLDER DECOY_ADDRESS DECOY_FILE KIND,KIND FIRST LAST` prints a line when a mutation begins, [kind,
number], and one when it is read: [kind, number, seconds, verdict, memory so far in MB]. A verdict is "", the reason of
one of this project's errors, or what is wrong. What else the process opens or asks an audit hook hears, and is wrong.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from documents import TITLE, make
from web_server import Site, raw, sound
from work import peak_memory_mb

from aria_data.errors import AriaDataError

KINDS_OF_PAGES = {
    "rss": ("application/rss+xml", "text/xml", ""), "atom": ("application/atom+xml", "application/xml; charset=cp1251"),
    "json_feed": ("application/feed+json", "application/json"), "sitemap": ("text/xml", "application/gzip"),
    "page": ("text/html", "text/html; charset=shift_jis", "application/octet-stream", "application/xhtml+xml"),
}  # fmt: skip
LISTS = {"csv": ".csv", "tsv": ".tsv", "audioset": ".csv", "jsonl": ".jsonl", "txt": ".txt"}
MAX_TEXT = 20_100  # characters of a field: four times what is kept of a description would be a leak
OUTSIDE = ("/etc/passwd", "/etc/shadow", "/proc/self/environ")


class Ears:
    """Hears what this process opens, asks and starts. A connection to anything but this machine is refused."""

    def __init__(self, ports: set[int], decoy: Path):
        self.ports, self.decoy, self.heard = ports, str(decoy), list[str]()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            address = arguments[1]
            if isinstance(address, tuple) and address[1] not in self.ports:
                self.heard.append(f"asked {address}")
                raise ConnectionRefusedError("not in a test")
        elif event == "open" and isinstance(arguments[0], str):
            if arguments[0] == self.decoy or arguments[0] in OUTSIDE:
                self.heard.append(f"opened {arguments[0]}")
        elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
            # The first for a user agent; in the second a page is tried.
            is_ours = arguments[0] == "uname" or "trial_process" in str(arguments[1])
            self.heard += [] if is_ours else [f"started {arguments[0]}"]


@dataclasses.dataclass
class Place:
    """Where mutations are read: a folder, a site, the decoys."""

    folder: Path
    site: Site
    decoy: str
    file: Path
    web: Any = None

    def __post_init__(self) -> None:
        from aria_data.web import RequestBudget, Web, WebConfig

        host = f"127.0.0.1:{self.site.server.server_port}"
        self.web = Web(
            WebConfig(
                allow_hosts=(host,), min_interval_s=0.0, jitter=0.0, max_failures=10**9, timeout_s=5.0, rest_s=0.0
            ),
            RequestBudget(),
        )

    def content(self, kind: str, number: int) -> bytes:
        return make(kind, number, self.site.address(""), self.decoy, self.file)


def require_sound(found: Any) -> None:
    """Whether what was read can be stored: bounded, without control characters, UTF-8."""
    from aria_data.web import is_address

    for name, value in dataclasses.asdict(found).items():
        if isinstance(value, str):
            assert len(value) < MAX_TEXT, f"{name} is long"
            value.encode()
            assert not {"\0", "\x1b"} & set(value), f"{name} has control characters"
    if getattr(found, "source", "") == "page":
        assert is_address(found.target), f"a lead to {found.target}"


def require_readable(candidates: list) -> None:
    """Screen and annotate what was found, as the next steps do."""
    from aria_data.annotate import annotate
    from aria_data.screen import ScreenConfig, screen

    for candidate in candidates[:3]:
        for scorer in ("learned", "rules"):
            require_sound(screen(candidate, ScreenConfig(scorer=scorer)))
        require_sound(
            annotate(candidate.title, candidate.description, candidate.uploader, json.loads(candidate.tags or "{}"))
        )


def of_source(place: Place, source: str, target: str) -> None:
    from aria_data.collect.sources import follow
    from aria_data.collect.sources.base import Lead
    from aria_data.records import Candidate

    found = list(follow(Lead(source, target), place.web, 200))
    for one in found:
        require_sound(one)
    require_readable([one for one in found if isinstance(one, Candidate)])


def of_page(place: Place, kind: str, number: int) -> None:
    types = KINDS_OF_PAGES[kind]
    address = place.site.add("/x", place.content(kind, number), types[number % len(types)])
    of_source(place, "feed" if kind in ("rss", "atom", "json_feed") and number % 2 else "page", address)


def of_list(place: Place, kind: str, number: int) -> None:
    path = place.folder / f"list{LISTS[kind]}"
    path.write_bytes(place.content(kind, number))
    of_source(place, "list", str(path))


def of_api(place: Place, kind: str, number: int) -> None:
    body = place.content(kind, number)
    place.site.default = lambda handler: handler.give(200, body, "application/json")
    os.environ["ARIA_DATA_COMMONS_API"] = place.site.address("/w/api.php")
    os.environ["ARIA_DATA_ARCHIVE_API"] = place.site.address("/ia")
    targets = {
        "commons": ("category:Piano", "chopin", "File:Nocturne.ogg"),
        "archive": ("item:recital", "creator:Clara"),
    }
    source = {"commons": "wikimedia_commons", "archive": "internet_archive"}[kind]
    of_source(place, source, targets[kind][number % len(targets[kind])])


def of_rules(place: Place, kind: str, number: int) -> None:
    from aria_data.web.robots import Robots

    files = {"robots": "/robots.txt", "tdmrep": "/.well-known/tdmrep.json"}
    place.site.add(files[kind], place.content(kind, number), ("text/plain", "application/json")[kind == "tdmrep"])
    robots = Robots(place.web)
    for path in ("/secret/a.mp3?x=1", "/", "/a" + "b" * 3000):
        try:
            robots.require(place.site.address(path))
        except AriaDataError as error:
            require_plain(error)


def of_http(place: Place, kind: str, number: int) -> None:
    """Read a page by an answer that is no good HTTP, and fetch a file by it."""
    from aria_data.download import download
    from aria_data.download.fetch import DownloadConfig
    from aria_data.records import Candidate

    body = place.content(kind, number)
    place.site.route("/x.mp3", raw(body))
    if number % 3:
        page = place.web.get(place.site.address("/x.mp3"))
        page.text()
        return
    address = place.site.address("/x.mp3")
    config = DownloadConfig(max_tries=2, max_bytes=10_000_000)
    download(
        Candidate(f"web-{number}", "web", address, address, "x"), place.folder, config, place.web, lambda seconds: None
    )


def of_model(place: Place, kind: str, number: int) -> None:
    """Read a model's reply by itself, and every tenth by the client that asks a server."""
    from aria_data.annotate.model_tags import annotation_questions, annotation_task, read_answer, source_of
    from aria_data.llm import Answer
    from aria_data.llm.replies import check_answers
    from aria_data.llm.wire import Endpoint
    from aria_data.records import Candidate
    from aria_data.screen import ScreenConfig
    from aria_data.screen.digits import digit_task
    from aria_data.screen.screening import screen_questions, screen_task

    candidate = Candidate("c", "web", "", "", TITLE)
    task = {"screen": screen_task, "annotate": annotation_task, "digits": digit_task}[kind]()
    if kind == "annotate":
        (question,) = annotation_questions([candidate], 500, 3000)
    else:
        (question,) = screen_questions([candidate], ScreenConfig(scorer="llm"))
    body = place.content(kind, number)
    if number % 10 == 0:
        _ask(place, task, question, body)
        return
    endpoint = Endpoint("http://127.0.0.1:1/v1", "m", {"OPENAI_API_KEY": "none"})
    (found,) = check_answers(task, {"i1": question.payload}, endpoint.read(body)).values()
    if isinstance(found, Exception):
        raise found
    if kind == "screen":
        assert found["relevance_score"] in (1, 2, 3, 4, 5)
        assert found["evidence"] in TITLE
    elif kind == "digits":
        assert abs(sum(found["probabilities"].values()) - 1) < 1e-3, found
    else:
        answer = Answer(found, "m", False)
        require_sound(read_answer(question.tag[1], answer, 500).to_annotation(source_of(answer)))


def _ask(place: Place, task: Any, question: Any, body: bytes) -> None:
    from aria_data.llm import Llm, LlmConfig

    place.site.default = lambda handler: handler.give(200, body, "application/json")
    environ = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": place.site.address("/v1"), "ARIA_DATA_MODEL": "m"}
    config = LlmConfig(first_wait_s=0.001, deadline_s=10.0, max_asks_alone=0, input_price=1.0, output_price=1.0)
    ledger = place.folder / "ledger.sqlite"
    with Llm(config, ledger, environ) as llm:
        llm.ask(task, question.payload)
    ledger.unlink()


def of_tags(place: Place, kind: str, number: int) -> None:
    from aria_data.audio import IngestConfig, ingest
    from aria_data.collect import collect_folder
    from aria_data.storage.files import from_location

    folder = place.folder / "in"
    for path in folder.iterdir() if folder.exists() else ():
        path.unlink()
    folder.mkdir(exist_ok=True)
    body, audio = place.content(kind, number), sound(0.3, 0, "mp3" if kind == "id3" else "wav")
    name = f"a.{'mp3' if kind == 'id3' else 'wav'}"
    if kind == "name":
        name = body.replace(b"\0", b"").replace(b"/", b"_").decode("utf-8", "surrogateescape")
        name = os.fsdecode(os.fsencode(name)[: 240 - 4 * (number % 3)]) + (".wav", ".WAV", "")[number % 3] or "a"
    if kind == "info":  # the chunk around the tags is whole, so that it is the tags that are odd
        body = body[8:] + b"\0" * (len(body) % 2)
        audio = audio[:36] + b"LIST" + len(body).to_bytes(4, "little") + body + audio[36:]
    content = body + audio if kind == "id3" else audio
    if kind == "sidecar":
        (folder / "a.info.json").write_bytes(body)
    (folder / name).write_bytes(content)
    found = collect_folder(folder).candidates
    for candidate in found:
        require_sound(candidate)
        assert candidate.title or not name, "no title"
    require_readable(found)
    for candidate in found:
        ingest(candidate, from_location(candidate.location, folder), IngestConfig(min_duration_s=0.0))


READERS: dict[str, Callable[[Place, str, int], None]] = {
    **dict.fromkeys(KINDS_OF_PAGES, of_page), **dict.fromkeys(LISTS, of_list),
    **dict.fromkeys(("commons", "archive"), of_api), **dict.fromkeys(("robots", "tdmrep"), of_rules), "http": of_http,
    **dict.fromkeys(("screen", "annotate", "digits"), of_model),
    **dict.fromkeys(("id3", "info", "name", "sidecar"), of_tags),
}  # fmt: skip


def require_plain(error: AriaDataError) -> None:
    message = str(error)
    assert message.isprintable(), f"a message: {message[:300]!r}"  # and so one line
    assert len(message) < 1000, f"a message: {message[:300]!r}"


def verdict_of(place: Place, kind: str, number: int, ears: Ears) -> str:
    ears.heard.clear()
    try:
        READERS[kind](place, kind, number)
        verdict = ""
    except AriaDataError as error:
        try:
            require_plain(error)
            verdict = error.reason
        except AssertionError as odd:
            verdict = f"wrong: {odd}"
    except AssertionError as odd:
        verdict = f"wrong: {odd}"
    except Exception as error:
        import traceback

        lines = traceback.format_exception(error)
        verdict = f"unexpected {type(error).__name__}: {error} {''.join(lines[-4:])}"[-1500:]
    place.site.default = lambda handler: handler.give(404, b"nothing here", "text/plain")
    return verdict if not ears.heard else f"wrong: {ears.heard[:5]} {verdict}"


def main(folder: Path, decoy: str, file: Path, kinds: list[str], first: int, last: int) -> None:
    import logging

    from aria_data.web import trial_reading

    logging.disable(logging.CRITICAL)
    trial_reading.TRIAL.read_s = 1.0
    with Site() as site:
        place = Place(folder, site, decoy, file)
        ears = Ears({site.server.server_port}, file)
        for kind, number in itertools.product(kinds, range(first, last)):
            print(json.dumps([kind, number]), flush=True)
            began = time.monotonic()
            verdict = verdict_of(place, kind, number, ears)
            memory_mb = peak_memory_mb()
            print(json.dumps([kind, number, round(time.monotonic() - began, 3), verdict, memory_mb]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4].split(","), int(sys.argv[5]), int(sys.argv[6]))
