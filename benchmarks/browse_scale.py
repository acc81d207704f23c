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
import numpy as np
from manifest_scale import make_dataset, rows, run

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
    """Tell the processor time so far whenever "time" comes through the pipe; at "stop" the memory, and end.

    Memory: the most that was resident, mapped pages and libraries with it, and what is the process's own now.
    """
    import socket
    import threading

    import uvicorn

    from flows.browse import make_app
    from flows.browse.app import prepare

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    began = time.perf_counter()
    app = make_app(root, TOKEN)
    prepare()
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True).start()
    pipe.send((listening.getsockname()[1], time.perf_counter() - began))
    while pipe.recv() == "time":
        pipe.send(time.process_time())
    own = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    pipe.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, int(own[0]) / 1e6))


class Served:
    """A server in a process of its own, and a client that has its token."""

    def __init__(self, root: Path):
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=serve, args=(root, theirs))
        self._process.start()
        port, self.start_s = self._pipe.recv()
        self.address = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(base_url=self.address, timeout=300, trust_env=False)
        self._client.get("/static/browse.css", params={"token": TOKEN}, follow_redirects=True)

    def seconds(self, path: str, query: dict[str, str] | None = None) -> float:
        began = time.perf_counter()
        answer = self._client.get(path, params=query)
        took_s = time.perf_counter() - began
        if answer.status_code not in (200, 303):
            raise SystemExit(f"{path} {query}: {answer.status_code} {answer.text[:300]}")
        return took_s

    def processor_s(self) -> float:
        self._pipe.send("time")
        return self._pipe.recv()

    def memory_gb(self) -> tuple[float, float]:
        self._pipe.send("stop")
        found = self._pipe.recv()
        self._process.terminate()
        return found


def measure_browse(root: Path) -> None:
    began = time.perf_counter()
    served = Served(root)
    print(f"start                    {time.perf_counter() - began:8.2f} s   (imports and rows: {served.start_s:.2f} s)")
    print(f"    {served.processor_s():.2f} s of processor time until then")
    shown("first page", served.seconds("/"))
    for name, queries in (("filtered page", FILTERED), ("brushed", BRUSHED)):
        times = []
        for query in queries:
            before_s = served.processor_s()
            times.append(served.seconds("/", query))  # the first time that it is asked: nothing of it is remembered
            spent_s = served.processor_s() - before_s
            print(f"    {times[-1]:6.3f} s   {spent_s:6.3f} s of processor time   {query}", flush=True)
        shown(name, statistics.median(times))
    for path in ("/segment?id=youtube-00000004242_0", "/rejected", "/reviews", "/next?seed=1"):
        print(f"    {served.seconds(path):6.3f} s   {path}", flush=True)
    peak_gb, own_gb = served.memory_gb()
    print_peak("server", peak_gb)
    print(f"    {own_gb:.2f} GB of it are its own; the rest are pages of the mapped file and of libraries")


def shown(name: str, took_s: float) -> None:
    print(f"{name:24s} {took_s:8.2f} s   limit {LIMITS[name]:g}   ratio {took_s / LIMITS[name]:.2f}", flush=True)


def print_peak(name: str, peak_gb: float) -> None:
    print(f"{name:24s} {peak_gb:8.2f} GB  limit {PEAKS_GB[name]:g}   ratio {peak_gb / PEAKS_GB[name]:.2f}", flush=True)


def write_report(root: Path, count: int) -> tuple[int, float]:
    from flows.report import write_report

    began_s = time.process_time()
    return write_report(root, root.parent / "report.html").stat().st_size, time.process_time() - began_s


def measure_report(root: Path) -> None:
    found: Any = run(write_report, root, 0)
    (size, spent_s), took_s, peak_gb = found
    shown("report", took_s)
    print(f"    {spent_s:.1f} s of processor time")
    print_peak("report", peak_gb)
    print(f"its size                 {size / 1e6:8.2f} MB  limit 3")


def make_hour(root: Path, count: int) -> int:
    """A segment of an hour with 36,000 notes, and its recording as FLAC."""
    import hashlib

    import soundfile

    from aria_data.manifest import Manifest
    from aria_data.midi import Note, Performance, midi_bytes
    from aria_data.records import Recording
    from aria_data.storage.stage_tables import DONE, Outcome, StageTable

    notes = [Note(at * 0.1, at * 0.1 + 0.3, 21 + at * 7 % 88, 30 + at % 90) for at in range(36_000)]
    content = midi_bytes(Performance(notes))
    (root / "midi").mkdir(parents=True)
    (root / "midi" / "hour.mid").write_bytes(content)
    row = rows(0, 1).to_pylist()[0]
    row |= {"start_s": 0.0, "end_s": 3600.0, "duration_s": 3600.0, "num_notes": len(notes), "audio_reachable": True}
    Manifest(root).commit([row | {"midi_path": "midi/hour.mid", "midi_sha256": hashlib.sha256(content).hexdigest()}])
    random = np.random.default_rng(0)
    with soundfile.SoundFile(root / "hour.flac", "w", 44_100, 1) as file:
        for _ in range(360):
            file.write((random.standard_normal(441_000) * 0.05).astype(np.float32))
    one, place = row["recording_id"], (root / "hour.flac").as_uri()
    found = Recording(one, one, place, "a" * 64, "b" * 64, 3600.0, 44_100, 1, "flac", -20.0, -1.0)
    StageTable(root, "ingest", Recording).append([Outcome(one, one, DONE, record=found)])
    return len(notes)


def measure_hour(root: Path) -> None:
    """From the click to the roll with its spectrogram, in Chromium; the first picture is coarse."""
    import shutil

    from playwright.sync_api import sync_playwright

    run(make_hour, root, 1)
    served = Served(root)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), chromium_sandbox=False)
        page = browser.new_page(base_url=served.address)
        page.goto(f"/?token={TOKEN}")
        page.wait_for_load_state("networkidle")
        began, before_s = time.perf_counter(), served.processor_s()
        page.click("tbody a")
        for drawn in ("with a coarse spectrogram", "with its spectrogram"):
            page.wait_for_selector(f"canvas[data-drawn='{drawn}']")
            took_s = time.perf_counter() - began
            shown("roll and spectrogram", took_s) if "coarse" in drawn else print(f"    {took_s:.2f} s   {drawn}")
            print(f"    {served.processor_s() - before_s:.2f} s of the server's processor time   {drawn}")
        began, before_s = time.perf_counter(), served.processor_s()
        page.mouse.click(800, 300)
        for _ in range(6):
            page.keyboard.press("+")
        page.wait_for_selector("canvas[data-drawn='with its spectrogram'][data-pictured='56']")
        took_s, spent_s = time.perf_counter() - began, served.processor_s() - before_s
        print(f"    {took_s:.2f} s   a minute of it, {spent_s:.2f} s of the server's processor time")
        browser.close()
    print(f"    {served.memory_gb()[0]:.2f} GB at most")


STEPS: dict[str, Callable[[Path], None]] = {"browse": measure_browse, "report": measure_report, "hour": measure_hour}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="make the dataset here, or use the one that is here")
    parser.add_argument("--only", choices=STEPS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = (options.keep or Path(folder)) / "dataset"
        if options.only != "hour" and not (root / "manifest").is_dir():
            run(make_dataset, root, options.rows)
        for name, step in STEPS.items():
            if options.only in (None, name):
                step(root if name != "hour" else Path(folder) / "hour")


if __name__ == "__main__":
    sys.exit(main())
