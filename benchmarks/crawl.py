"""Speed and memory of a crawl and of downloads, without pauses between requests.

    python benchmarks/crawl.py [--candidates 100000] [--items 300]

A local server in a process of its own gives pages with 100 audio links each; the crawl reads, screens (by rules) and
stores them. Then recordings of 30 s are fetched, decoded to their end and stored. Pacing is off: it would decide every
figure. Fetching is compared with a bare loop of urllib over the same addresses, in one thread, that only writes files.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import statistics
import tempfile
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import psutil
import soundfile

from aria_data.collect import CrawlSummary
from aria_data.config import BuildConfig, load_config
from flows.engine import quiet_prefect

PER_PAGE = 100
TITLES = (
    "Chopin - Nocturne in E flat major, Op. 9 No. 2",
    "Beethoven: Violin Sonata No. 5 'Spring'",
    "Соната для фортепиано № 14",
    "ピアノソロ 即興",
    "How to play River (Synthesia tutorial)",
    "track 7",
)


def serve(audio: bytes, num_pages: int, pipe) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            page = re.fullmatch(r"/page/(\d+)", self.path)
            if self.path == "/":
                links = "".join(f'<a href="/page/{number}">page</a>' for number in range(num_pages))
                self.give(f"<title>Index</title>{links}".encode(), "text/html")
            elif page:
                first = int(page[1]) * PER_PAGE
                numbers = range(first, first + PER_PAGE)
                links = "".join(f'<a href="/{n}.flac">{TITLES[n % len(TITLES)]} ({n})</a>' for n in numbers)
                self.give(f"<title>Page {page[1]}</title>{links}".encode(), "text/html")
            elif self.path.endswith(".flac"):
                self.give(audio, "audio/flac")
            else:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def give(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pipe.send(server.server_port)
    server.serve_forever()


def configuration(address: str) -> BuildConfig:
    given = (
        f'crawl.seeds=["{address}/"]', "crawl.max_candidates=0", "crawl.max_requests=0", "crawl.max_minutes=0.0",
        "web.allow_private=true", "web.min_interval_s=0.0", "screen.min_relevance_score=4",
    )  # fmt: skip
    return load_config(settings=given)


def crawl(root: Path, config: BuildConfig) -> None:
    from flows.crawl import crawl_into

    process, seen = psutil.Process(), []

    def report(summary: CrawlSummary) -> None:
        seen.append((summary.num_new, process.memory_info().rss / 1e6))

    began = time.perf_counter()
    summary = crawl_into(root, config, report)
    took_s = time.perf_counter() - began
    found = f"{summary.num_new:,} candidates, {summary.num_accepted:,} accepted, {summary.num_leads:,} pages"
    speed = f"{summary.num_new / took_s:,.0f} candidates/s, {summary.num_leads / took_s:.0f} pages/s"
    print(f"collect + screen: {found} in {took_s:.1f} s: {speed}")
    for share in (0.1, 0.25, 0.5, 1.0):
        at = next(pair for pair in seen if pair[0] >= share * summary.num_new)
        print(f"  memory at {at[0]:>7,} candidates: {at[1]:.0f} MB")


def download(root: Path, config: BuildConfig, num_items: int) -> None:
    from aria_data.download import download as fetch
    from aria_data.records import Candidate
    from aria_data.web import Web

    address = config.crawl.seeds[0]
    names = [f"{address}{number}.flac" for number in range(num_items)]
    rates: dict[str, list[float]] = {"bare": [], "ours, 1 thread": [], "ours, 4 threads": []}
    for number in range(3):
        began = time.perf_counter()
        for name in names:
            with urllib.request.urlopen(name) as answer:
                (root / "bare").write_bytes(answer.read())
        rates["bare"].append(num_items / (time.perf_counter() - began))
        for threads in (1, 4):
            from concurrent.futures import ThreadPoolExecutor

            web, place = Web(config.web), root / f"{number}-{threads}"
            candidates = [Candidate(f"web-{index}", "web", name, name, "") for index, name in enumerate(names)]
            began = time.perf_counter()
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda one, web=web, place=place: fetch(one, place, config.download, web), candidates))
            label = f"ours, {threads} thread{'s' * (threads > 1)}"
            rates[label].append(num_items / (time.perf_counter() - began))
    bare = statistics.median(rates["bare"])
    for name, found in rates.items():
        rate = statistics.median(found)
        print(
            f"download {name:16s} {rate:7.1f} items/s ({30 * rate:,.0f}x real time), {rate / bare:.2f} of the bare loop"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, quiet_prefect():
        root = Path(folder)
        times = np.arange(30 * 22050) / 22050
        soundfile.write(root / "a.flac", 0.3 * np.sin(2 * np.pi * 440 * times) * np.exp(-(times % 1.0)), 22050)
        ours, theirs = multiprocessing.Pipe()
        audio = (root / "a.flac").read_bytes()
        arguments = (audio, options.candidates // PER_PAGE, theirs)
        server = multiprocessing.get_context("spawn").Process(target=serve, args=arguments, daemon=True)
        server.start()
        config = configuration(f"http://127.0.0.1:{ours.recv()}")
        try:
            crawl(root / "dataset", config)
            download(root, config, options.items)
        finally:
            server.kill()


if __name__ == "__main__":
    main()
