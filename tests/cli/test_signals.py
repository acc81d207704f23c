"""A command that is told to end, once or twice: it says how to go on, leaves no process, and the next one goes on.

The command is a process of its own; the networks are stand-ins that take their time.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import psutil
import pytest
from fakes import SHORT_SEGMENTS, melody, write_audio
from places import ROOT, SUPPORT

from aria_data.manifest import Manifest

NUM_FILES = 8
COMMAND = f"""
import signal, sys
sys.path.insert(0, {str(SUPPORT)!r})
signal.signal(signal.SIGINT, signal.default_int_handler)
import build_child, fakes
fakes.use_fakes(build_child._Setter)
build_child.take_long()
from flows.cli.command import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGTERM], 143),
        ([signal.SIGTERM, signal.SIGTERM], 143),
        ([signal.SIGINT, signal.SIGINT], 130),
    ],
    ids=["SIGTERM", "SIGTERM twice", "Ctrl-C twice"],
)
def test_a_build_that_is_told_to_end_says_how_to_go_on_and_the_next_one_does(signals, code, build, tmp_path):
    out, source = tmp_path / "out", tmp_path / "in"
    for number in range(NUM_FILES):
        write_audio(source / f"{number}.wav", melody(8, number))
    arguments = ["build", str(source), "--out", str(out), "--set", *SHORT_SEGMENTS, "--no-prefect"]
    command = [sys.executable, "-c", COMMAND, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as child:
        while not any((out / "midi").rglob("*.mid")):
            assert child.poll() is None, child.stderr.read()
            time.sleep(0.05)
        family = psutil.Process(child.pid).children(recursive=True)
        for each in signals:
            child.send_signal(each)
            time.sleep(0.2)
        _, errors = child.communicate(timeout=120)
    assert child.returncode == code, errors
    assert errors.count("aria-data: stopped. What is finished is kept; the same command goes on from here.") == 1
    assert "Traceback" not in errors
    psutil.wait_procs(family, timeout=60)
    assert not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    went_on = build(source, out, SHORT_SEGMENTS)
    undisturbed = build(source, tmp_path / "undisturbed", SHORT_SEGMENTS)
    assert went_on.num_files == undisturbed.num_files == NUM_FILES
    assert went_on.stages["transcribe"].num_done_before > 0
    assert Manifest(out).content_sha256() == Manifest(tmp_path / "undisturbed").content_sha256()
    assert not list(out.rglob("*.partial"))
