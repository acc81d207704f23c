"""The browser and the report on a million rows, and a segment of an hour: seconds and peak memory beside their limits.

    python benchmarks/browse_scale.py [--rows 1000000] [--keep FOLDER] [--only browse|report|hour]

The dataset is that of `manifest_scale.py`: rows, candidates, recordings and measures of made-up values. The server runs
in a process of its own and is asked over HTTP, as a browser does; each number is the time until the answer is complete.
With `--keep` the dataset is made in this folder, or used if it is there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from manifest_scale import make_dataset, run

TOKEN = "benchmark"
LIMITS = {"first page": 1.0, "filtered page": 0.3, "brushed": 0.5, "roll and spectrogram": 1.0, "report": 60.0}
PEAKS_GB = {"server": 1.0, "report": 2.0}
FILTERED = (
    {"where": "composer_id = 'chopin' AND audio_score > 0.99"}, {"q": "Piece No. 4242"}, {"composer": "classical"},
    {"sort": "audio_score", "order": "desc"}, {"sort": "title", "page": "500"},
    {"where": "in_unique", "split": "train"}, {"q": "minor", "sort": "duration_s"}, {"page": "9000"},
)  # fmt: skip
BRUSHED = (
    {"min_audio_score": "0.2", "max_audio_score": "0.4"}, {"min_duration_s": "0.1", "max_note_density": "0.7"},
    {"min_onset_agreement": "0.9", "composer": "classical"}, {"max_pitch_entropy": "0.5", "q": "Op. 17"},
)  # fmt: skip


def serve(root: Path, pipe: Any) -> None:
    """Run the server until something comes through the pipe, then tell the peak memory."""
    import socket
    import threading

    import uvicorn

    from flows.browse import make_app

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    began = time.perf_counter()
    server = uvicorn.Server(uvicorn.Config(make_app(root, TOKEN), log_level="error", lifespan="off"))
    threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True).start()
    pipe.send((listening.getsockname()[1], time.perf_counter() - began))
    pipe.recv()
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


class Served:
    """A server in a process of its own, and a client that has its token."""

    def __init__(self, root: Path):
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=serve, args=(root, theirs))
        self._process.start()
        port, self.start_s = self._pipe.recv()
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300, trust_env=False)
        self._client.get("/static/browse.css", params={"token": TOKEN}, follow_redirects=True)

    def seconds(self, path: str, query: dict[str, str] | None = None) -> float:
        began = time.perf_counter()
        answer = self._client.get(path, params=query)
        took_s = time.perf_counter() - began
        if answer.status_code != 200:
            raise SystemExit(f"{path} {query}: {answer.status_code} {answer.text[:300]}")
        return took_s

    def peak_gb(self) -> float:
        self._pipe.send("stop")
        found = self._pipe.recv()
        self._process.terminate()
        return found


def measure_browse(root: Path) -> None:
    began = time.perf_counter()
    served = Served(root)
    print(f"start                    {time.perf_counter() - began:8.2f} s   (imports and rows: {served.start_s:.2f} s)")
    shown("first page", served.seconds("/"))
    for name, queries in (("filtered page", FILTERED), ("brushed", BRUSHED)):
        times = []
        for query in queries:
            took_s = statistics.median(served.seconds("/", query) for _ in range(3))
            print(f"    {took_s:6.3f} s   {query}", flush=True)
            times.append(took_s)
        shown(name, statistics.median(times))
    for path in ("/segment?id=youtube-00000004242_0", "/rejected", "/reviews", "/next?seed=1"):
        try:
            print(f"    {served.seconds(path):6.3f} s   {path}", flush=True)
        except SystemExit as error:
            print(f"    {error}")
    print_peak("server", served.peak_gb())


def shown(name: str, took_s: float) -> None:
    print(f"{name:24s} {took_s:8.2f} s   limit {LIMITS[name]:g}   ratio {took_s / LIMITS[name]:.2f}", flush=True)


def print_peak(name: str, peak_gb: float) -> None:
    print(f"{name:24s} {peak_gb:8.2f} GB  limit {PEAKS_GB[name]:g}   ratio {peak_gb / PEAKS_GB[name]:.2f}", flush=True)


def write_report(root: Path, count: int) -> int:
    from flows.report import write_report

    return write_report(root, root.parent / "report.html").stat().st_size


def measure_report(root: Path) -> None:
    size, took_s, peak_gb = run(write_report, root, 0)
    shown("report", took_s)
    print_peak("report", peak_gb)
    print(f"its size                 {size / 1e6:8.2f} MB  limit 3")


STEPS: dict[str, Callable[[Path], None]] = {"browse": measure_browse, "report": measure_report}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="make the dataset here, or use the one that is here")
    parser.add_argument("--only", choices=[*STEPS, "hour"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = (options.keep or Path(folder)) / "dataset"
        if options.only != "hour" and not (root / "manifest").is_dir():
            run(make_dataset, root, options.rows)
        for name, step in STEPS.items():
            if options.only in (None, name):
                step(root)


if __name__ == "__main__":
    sys.exit(main())
