"""Mutated audio of every container: no crash, no hang, nothing else is opened, and every command says the same."""

from __future__ import annotations

import ctypes
import http.server
import json
import os
import selectors
import struct
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from audio_mutations import DECOY, make, originals
from click.testing import CliRunner
from fakes import FakeClassifier, FakeTranscriber, melody, write_audio
from places import SUPPORT

from aria_data.records import Rejection
from aria_data.storage.stage_tables import RecordTable
from aria_data.transcribe import devices
from flows.cli import command
from flows.tools import classify_files

NUM_MUTATIONS, NUM_BUILT = 3000, 120
LIMIT_S = 60  # a file of 1.5 s takes 0.02 s; what takes this long hangs
MAX_MEMORY_MB = 1000
REASONS = {"", "truncated", "not_audio", "damaged", "no_audio_decoded", "no_audio_stream", "sound_left_out", "too_long"}
REASONS |= {"samples_not_finite", "samples_out_of_range", "too_many_channels", "empty_file"}
IN_OPEN = 0x20


@pytest.fixture
def server():
    """A real server, so that a connection would be seen and counted."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle(self):
            asked.append("a connection")

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield httpd.server_address[1], asked
    httpd.shutdown()
    httpd.server_close()


class Watched:
    """Files of which the kernel tells when one is opened, by whoever."""

    def __init__(self, *paths: Path):
        libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = libc.inotify_init1(os.O_NONBLOCK)
        for path in paths:
            assert libc.inotify_add_watch(self.descriptor, os.fsencode(path), IN_OPEN) >= 0

    def num_opened(self) -> int:
        try:
            return len(os.read(self.descriptor, 1 << 16)) // struct.calcsize("iIII")
        except BlockingIOError:
            return 0


def read_all(folder: Path, port: int) -> list[list]:
    """Read the mutations in a process of its own; a file on which it dies or hangs fails the test by its name."""
    code = [sys.executable, str(SUPPORT / "audio_mutations.py"), str(folder), str(port), "0", str(NUM_MUTATIONS)]
    found, begun = [], "the start"
    with subprocess.Popen(code, stdout=subprocess.PIPE, cwd=folder) as child:
        assert child.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(child.stdout, selectors.EVENT_READ)
            while waiting.select(LIMIT_S):
                line = child.stdout.readline()
                if not line:
                    break
                row = json.loads(line)
                begun = row[1]
                if len(row) > 2:
                    found.append(row)
            else:
                child.kill()
                pytest.fail(f"{begun} hangs")
    assert child.returncode == 0, f"{begun} ended the process: {child.returncode}"
    return found


@pytest.mark.slow
def test_mutated_audio_of_every_container_is_read_or_refused_alike_and_nothing_else_is_opened(tmp_path, server):
    port, asked = server
    decoy = write_audio(tmp_path / DECOY, melody(1))
    watched = Watched(decoy)
    found = read_all(tmp_path, port)
    assert len(found) == NUM_MUTATIONS
    odd = [
        (name, verdicts) for _, name, _, verdicts, _ in found if len(set(verdicts)) > 1 or verdicts[0] not in REASONS
    ]
    assert odd == []
    assert max(memory_mb for *_, memory_mb in found) < MAX_MEMORY_MB
    assert Counter(verdicts[0] for *_, verdicts, _ in found)["truncated"] > 100  # the mutations bite
    assert asked == []
    assert watched.num_opened() == 0


@pytest.mark.slow
def test_build_classify_and_transcribe_refuse_the_same_mutated_files_for_the_same_reason(tmp_path, build, monkeypatch):
    files, folder = originals(tmp_path / "originals"), tmp_path / "in"
    folder.mkdir()
    names = [make(files, folder, number, 9).name for number in range(NUM_BUILT)]
    settings = ("segment.min_segment_s=1", "ingest.min_duration_s=0.01", "ingest.min_loudness_db=-200")
    build(folder, tmp_path / "out", settings=settings)
    failures = [each for each in RecordTable(tmp_path / "out", "rejections", Rejection).read() if each.is_failure]
    built = {each.source_url: each.detail for each in failures}

    monkeypatch.setattr(devices, "load_everywhere", lambda config, compute: FakeTranscriber())
    monkeypatch.setattr(classify_files, "load_classifier", lambda weights, device: FakeClassifier())
    monkeypatch.setattr(classify_files, "judged", lambda file, found, config: classify_files.ClassifiedFile(file))
    for arguments in (["classify", folder, "--json"], ["transcribe", folder, "--json", "--out", tmp_path / "midi"]):
        ended = CliRunner().invoke(command.cli, [str(each) for each in arguments])
        rows = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
        errors = {row["file"].rpartition("/")[2]: row["error"] for row in rows if row.get("error")}
        assert len(rows) == sum(not name.endswith(".ts") for name in names)  # not audio by its name
        assert errors == built
