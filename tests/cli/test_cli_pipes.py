"""A reader that goes away, as `| head` does, has seen enough: every command that prints ends with 0 then."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from fakes import melody, use_fakes, write_audio
from places import ROOT

import flows.cli.jobs

COMMANDS = [
    *(f"query {{d}} --format {name}" for name in ("table", "csv", "jsonl", "paths")),
    "query {d} --max-per-composition 1",
    *(f"rejections {{d}} --format {name}" for name in ("table", "csv", "jsonl")),
    *(f"sample {{d}} --format {name}" for name in ("table", "csv", "jsonl", "paths")),
    *(f"attempts {{d}} --format {name}" for name in ("table", "csv", "jsonl")),
    "versions {d}", "versions {d} --json", "diff {d} 1 2", "diff {d} 1 2 --json", "stats {d}", "stats {d} --json",
    "card {d}", "explain {d} a.wav", "explain {d} a.wav --json", "subsets {d}", "doctor {d}", "doctor {d} --json",
    "build {r} --out {d} --dry-run", "build {r} --out {d} --dry-run --json",
]  # fmt: skip
RUN = """
import json, os, sys
import deltalake, duckdb, pandas, yt_dlp, flows.build_dataset  # once, here: each child would import them again
from flows.cli.command import main

def end_of(command):
    # The exit code, as the interpreter ends: to take all modules down would cost each child a second.
    code = 0
    try:
        command()
    except SystemExit as end:
        code = end.code or 0
    try:
        sys.stdout.flush()
    except OSError as error:
        print(f"Exception ignored: {error!r}", file=sys.stderr)
        code = 120
    return code

for words in json.load(sys.stdin):
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, 1)
        sys.argv = ["aria-data", *words]
        os._exit(end_of(main))
    print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])), flush=True)
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> dict[str, int]:
    """The exit code of every command whose output nobody reads."""
    folder = tmp_path_factory.mktemp("made")
    dataset, recordings = folder / "d", folder / "r"
    write_audio(recordings / "a.wav", melody(8))
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        for _ in range(2):
            flows.cli.jobs.run_build(recordings, dataset, settings=["segment.min_segment_s=5"], with_prefect=False)
            write_audio(recordings / "b.wav", melody(9, 1))
    words = [[word.format(d=dataset, r=recordings) for word in command.split()] for command in COMMANDS]
    run = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps(words), capture_output=True, text=True, cwd=ROOT, timeout=200
    )
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert "Exception" not in run.stderr
    return dict(zip(COMMANDS, map(int, run.stdout.split()), strict=True))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_whose_reader_goes_away_ends_with_0(command, ended):
    assert ended[command] == 0


def test_a_build_whose_progress_nobody_reads_any_more_builds_on(tmp_path):
    write_audio(tmp_path / "in" / "a.wav", melody(8))
    script = (
        "from fakes import use_fakes\nimport sys\nfrom flows.cli.command import main\n"
        "class S: setattr = staticmethod(setattr)\nuse_fakes(S)\nmain()"
    )
    command = [
        "build", tmp_path / "in", "--out", tmp_path / "out", "--set", "segment.min_segment_s=5", "--no-prefect",
    ]  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, command)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT, env={"PYTHONPATH": "tests/support"},
    )  # fmt: skip
    child.stderr.close()
    assert child.wait(120) == 0
    assert (tmp_path / "out" / "manifest").is_dir()


@pytest.mark.parametrize(("format_", "most"), [("jsonl", 1_500), ("paths", 100)])
def test_a_table_is_written_piece_by_piece_and_never_held_as_text(tmp_path, monkeypatch, format_, most):
    import contextlib

    import pyarrow as pa

    from flows.show import output

    class Pieces(list):
        write = list.append

    file = Pieces()
    monkeypatch.setattr(output, "writing_whole", lambda path: contextlib.nullcontext(file))
    rows = [{"midi_path": f"midi/{number}.mid", "title": "x" * 1000} for number in range(3000)]
    output.write_table(pa.Table.from_pylist(rows), format_, tmp_path / "x", tmp_path)
    assert len(file) > 5
    assert max(map(len, map(bytes, file))) <= most
