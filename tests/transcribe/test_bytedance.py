"""The bytedance backend against the package it is made of, and its checkpoint against a server that misbehaves.

The published checkpoint cannot be had here. The networks and the post-processing are the real ones; their weights
are random, in a file of full size: enough to show that the same numbers come out as from the package itself.
"""

from __future__ import annotations

import hashlib
import http.server
import threading
import warnings

import numpy as np
import pytest

from aria_data.errors import NetworkError, UsageError
from aria_data.transcribe import Compute, TranscribeConfig, backends, checkpoints
from aria_data.transcribe.backends import bytedance
from aria_data.transcribe.batching import transcribe_all, transcribe_one
from aria_data.transcribe.checkpoints import Checkpoint, fetch

RATE = 16_000


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from piano_transcription_inference.models import Note_pedal
    torch.manual_seed(0)
    model = Note_pedal(frames_per_second=100, classes_num=88)
    for part in (model.note_model, model.pedal_model):  # random, and lively enough that outputs rise and fall
        for name, weight in part.named_parameters():
            if name.endswith("fc.weight"):
                weight.data *= 12
            if name.endswith("fc.bias"):
                weight.data -= 4.0
    path = tmp_path_factory.mktemp("weights") / "random.pth"
    parts = {"note_model": model.note_model.state_dict(), "pedal_model": model.pedal_model.state_dict()}
    torch.save({"model": parts}, path)
    assert path.stat().st_size > 1.6e8  # as large as the published one, by the package's own check
    return path


# The networks take windows of any length: short ones cost less, and are joined by the same code.
WINDOWS_S = [1, pytest.param(bytedance.WINDOW_S, marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=WINDOWS_S)
def window_s(request) -> int:
    return request.param


@pytest.fixture(scope="module")
def model(checkpoint, window_s):
    model = backends.load(TranscribeConfig("bytedance", checkpoint=str(checkpoint)), Compute("cpu"))
    model.window, model.hop = window_s * RATE, window_s * RATE // 2
    return model


@pytest.fixture(scope="module")
def waveform(window_s) -> np.ndarray:
    rng = np.random.default_rng(0)
    times = np.arange(2 * window_s * RATE) / RATE
    bursts = np.sin(2 * np.pi * 440 * 2 ** (np.floor(times * 3) % 24 / 12) * times) * np.exp(-3 * (times * 3 % 1))
    return (0.3 * bursts + 0.01 * rng.normal(size=len(times))).astype(np.float32)[:, None]


@pytest.fixture(scope="module")
def of_the_package(checkpoint, waveform, window_s):
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from piano_transcription_inference import PianoTranscription
    package = PianoTranscription(
        "Note_pedal", str(checkpoint), segment_samples=window_s * RATE, device=torch.device("cpu")
    )
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine the threads of a recurrent network wait for each other without end
    try:
        with np.errstate(all="ignore"):
            return package.transcribe(waveform[:, 0], None)
    finally:
        torch.set_num_threads(before)


def test_notes_and_pedals_are_those_of_the_package(model, waveform, of_the_package):
    result = transcribe_one(model, [waveform])
    theirs = sorted(
        (round(float(e["onset_time"]), 3), e["midi_note"], max(1, e["velocity"]))
        for e in of_the_package["est_note_events"]
        if e["offset_time"] > e["onset_time"]
    )
    ours = sorted((round(max(n.onset_s, 0), 3), n.pitch, n.velocity) for n in result.performance.notes)
    assert len(theirs) > 2.5 * len(waveform) / RATE
    assert np.array(ours) == pytest.approx(np.array(theirs), abs=2e-3)
    presses = sorted((float(e["onset_time"]), float(e["offset_time"])) for e in of_the_package["est_pedal_events"])
    assert np.array([(p.onset_s, p.offset_s) for p in result.performance.pedals]) == pytest.approx(
        np.array(presses), abs=2e-3
    )
    assert 0 < result.confidence <= 1
    assert len(result.note_confidences) == len(result.performance.notes)


@pytest.mark.slow
def test_notes_do_not_depend_on_the_chunks_they_are_found_in(model, waveform, monkeypatch):
    whole = transcribe_one(model, [waveform])
    monkeypatch.setattr(bytedance, "CHUNK_FRAMES", 150)
    in_chunks = transcribe_one(model, [waveform])
    assert len(in_chunks.performance.notes) == len(whole.performance.notes)
    for one, other in zip(in_chunks.performance.notes, whole.performance.notes, strict=True):
        assert (one.pitch, one.velocity) == (other.pitch, other.velocity)
        assert one.onset_s == pytest.approx(other.onset_s, abs=1e-4)
        assert one.offset_s == pytest.approx(other.offset_s, abs=1e-4)


@pytest.mark.slow
def test_several_recordings_share_batches_and_a_short_one_is_transcribed(model, waveform):
    parts = {"a": waveform[: 12 * RATE], "short": waveform[: 2 * RATE], "none": waveform[:0]}
    model.batch_size = 3
    try:
        together = dict(transcribe_all(model, ((name, lambda part=part: [part]) for name, part in parts.items())))
    finally:
        model.batch_size = 1
    assert together["short"].performance.notes
    assert together["none"].performance.notes == []
    alone = transcribe_one(model, [parts["a"]]).performance
    assert len(alone.notes) == pytest.approx(len(together["a"].performance.notes), abs=2)


def test_the_hash_is_that_of_the_file_or_of_the_published_one(model, checkpoint):
    sha256 = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert model.sha256 == backends.weights_sha256(TranscribeConfig("bytedance", checkpoint=str(checkpoint))) == sha256
    assert backends.weights_sha256(TranscribeConfig("bytedance")) == bytedance.CHECKPOINT.sha256


def test_a_wrong_or_missing_checkpoint_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="there is no such checkpoint"):
        backends.load(TranscribeConfig("bytedance", checkpoint=str(tmp_path / "none.pth")))
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"not a checkpoint")
    with pytest.raises(UsageError, match=r"wrong\.pth: is not a checkpoint"):
        backends.load(TranscribeConfig("bytedance", checkpoint=str(wrong)))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    import torch

    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"model": Hostile()}, tmp_path / "hostile.pth")
    with pytest.raises(UsageError, match="is not a checkpoint"):
        backends.load(TranscribeConfig("bytedance", checkpoint=str(tmp_path / "hostile.pth")))
    assert not (tmp_path / "ran").exists()


CONTENT = np.random.default_rng(0).bytes(300_000)


class Server:
    """Serves CONTENT, and misbehaves as told: each request takes the next of `faults`."""

    def __init__(self):
        self.faults: list[str] = []
        self.ranges: list[str | None] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                fault = outer.faults.pop(0) if outer.faults else ""
                wanted = self.headers.get("Range")
                outer.ranges.append(wanted)
                if fault == "error":
                    self.send_error(503)
                    return
                start = int(wanted.split("=")[1].rstrip("-")) if wanted and fault != "no range" else 0
                body = CONTENT[start:]
                if fault == "wrong":
                    body = bytes(len(body))
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:100_000] if fault == "cut" else body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        sha256 = hashlib.sha256(CONTENT).hexdigest()
        url = f"http://127.0.0.1:{self.server.server_port}/weights.pth"
        self.checkpoint = Checkpoint("weights.pth", url, len(CONTENT), sha256, "CC BY 4.0")


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(checkpoints, "FIRST_WAIT_S", 0.01)
    one = Server()
    yield one
    one.server.shutdown()
    one.server.server_close()


def test_a_checkpoint_is_fetched_once_with_its_licence_shown(server, tmp_path, caplog):
    path = fetch(server.checkpoint, tmp_path / "cache" / "weights.pth")
    assert path.read_bytes() == CONTENT
    assert "CC BY 4.0" in caplog.text
    assert fetch(server.checkpoint, path) == path
    assert len(server.ranges) == 1
    assert [each.name for each in path.parent.iterdir()] == ["weights.pth"]


@pytest.mark.parametrize(
    "faults", [["cut", "cut"], ["error", "error"], ["cut", "no range"], ["wrong"], ["cut", "wrong"]]
)
def test_a_server_that_misbehaves_for_a_while_is_tried_again(server, tmp_path, faults):
    server.faults = list(faults)
    assert fetch(server.checkpoint, tmp_path / "weights.pth").read_bytes() == CONTENT


def test_a_download_that_broke_off_goes_on_where_it_stopped(server, tmp_path):
    server.faults = ["cut", *["error"] * 10]
    with pytest.raises(NetworkError, match="Run the same command again; it goes on"):
        fetch(server.checkpoint, tmp_path / "weights.pth")
    assert (tmp_path / "weights.pth.partial").stat().st_size == 100_000
    assert not (tmp_path / "weights.pth").exists()
    server.faults, server.ranges = [], []
    assert fetch(server.checkpoint, tmp_path / "weights.pth").read_bytes() == CONTENT
    assert server.ranges == ["bytes=100000-"]


def test_wrong_content_is_never_kept(server, tmp_path):
    server.faults = ["wrong"] * 20
    with pytest.raises(NetworkError, match="another sha256"):
        fetch(server.checkpoint, tmp_path / "weights.pth")
    assert list(tmp_path.iterdir()) == []


def test_a_users_file_is_never_written_over(server, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"mine")
    with pytest.raises(NetworkError, match="is not the published checkpoint"):
        fetch(server.checkpoint, path)
    assert path.read_bytes() == b"mine"


def test_two_at_once_fetch_it_once(server, tmp_path):
    threads = [threading.Thread(target=fetch, args=(server.checkpoint, tmp_path / "weights.pth")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "weights.pth").read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_the_published_file_has_a_place_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert checkpoints.cached_path(bytedance.CHECKPOINT) == tmp_path / "aria-data" / bytedance.CHECKPOINT.name
