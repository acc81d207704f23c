"""The `aria-data` command: what it prints, where, and with which exit code; every error is one line.

Builds run in this process with stand-ins for the networks and without Prefect's server.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fakes import FakeDecoder, melody, use_fakes, write_audio
from places import ROOT

import flows.cli.jobs
from aria_data.errors import PermanentError
from aria_data.manifest import Manifest
from aria_data.manifest.manifest import arrow_schema
from aria_data.storage import exclusive_lock
from flows.cli import command as module

COMMANDS = "build query explain rejections versions diff remove stats sample export annotate demo".split()


@dataclass
class Ended:
    code: int
    out: str
    err: str


class _Exit(BaseException):
    """Stands for the end of the process, which `os._exit` brings about."""


@pytest.fixture
def aria(monkeypatch, capfdbinary):
    """Run the command line in this process: `aria("build", source, ...)`."""
    use_fakes(monkeypatch)
    monkeypatch.setattr(flows.cli.jobs, "run_build", functools.partial(flows.cli.jobs.run_build, with_prefect=False))

    def leave(code):
        raise _Exit(code)

    monkeypatch.setattr(os, "_exit", leave)

    def run(*arguments) -> Ended:
        capfdbinary.readouterr()
        monkeypatch.setattr(sys, "argv", ["aria-data", *map(str, arguments)])
        code = 0
        try:
            module.main()
        except (_Exit, SystemExit) as end:
            code = end.args[0] if end.args else 0
        sys.stdout.flush()
        said = capfdbinary.readouterr()
        return Ended(int(code or 0), said.out.decode(), said.err.decode())

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    for number, name in enumerate(("Chopin - Nocturne op. 9 no. 2", "Satie - Gymnopédie no. 1", "[b]x :bomb: y")):
        write_audio(folder / "in" / f"{name}.wav", melody(8, number))
    (folder / "in" / "broken.mp3").write_text("no audio")
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch)
        flows.cli.jobs.run_build(
            folder / "in", folder / "out", settings=["segment.min_segment_s=5"], with_prefect=False
        )
    return folder


@pytest.fixture
def dataset(made, tmp_path) -> Path:
    shutil.copytree(made / "out", tmp_path / "dataset")
    return tmp_path / "dataset"


def one_line(ended: Ended, code: int, *says: str) -> None:
    assert ended.code == code
    assert ended.out == ""
    (line,) = ended.err.strip("\n").splitlines()  # click ends the line that Ctrl-C was typed on
    assert line.startswith("aria-data: ")
    for words in says:
        assert words in line


# ---------------------------------------------------------------- build


def test_a_clean_build_ends_with_0_and_its_tables_on_standard_output(tmp_path, aria):
    write_audio(tmp_path / "in" / "a.wav", melody(8))
    ended = aria("build", tmp_path / "in", "--out", tmp_path / "out", "--set", "segment.min_segment_s=5")
    assert ended.code == 0
    assert "candidates: 1 in = 1 in the manifest + 0 rejected + 0 failed + 0 not done" in ended.out
    assert "Version 1 is new. Next: aria-data query" in ended.out
    assert "ingest       1/1 in" in ended.err
    again = aria("build", tmp_path / "in", "--out", tmp_path / "out", "--set", "segment.min_segment_s=5")
    assert again.code == 0
    assert "Version 1 stands: nothing changed" in again.out


def test_a_build_with_failures_ends_with_1_and_names_them(made, dataset, aria):
    ended = aria("build", made / "in", "--out", dataset, "--set", "segment.min_segment_s=5")
    assert ended.code == 1
    assert "failed (1):\n  broken.mp3: not_audio (" in ended.out


def test_a_build_that_finds_nothing_ends_with_1_and_says_so(tmp_path, aria):
    (tmp_path / "in").mkdir()
    ended = aria("build", tmp_path / "in", "--out", tmp_path / "out")
    assert ended.code == 1
    assert f"Nothing usable was found, so {tmp_path / 'out'} has no version." in ended.out


def test_a_build_as_json_is_one_object_on_standard_output(made, dataset, aria):
    ended = aria("build", made / "in", "--out", dataset, "--set", "segment.min_segment_s=5", "--json")
    summary = json.loads(ended.out)
    assert (summary["version"], summary["num_files"], summary["candidates"]["num_in"]) == (1, 3, 4)
    assert len(summary["failures"]) == 1


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(dataset, tmp_path, aria):
    write_audio(tmp_path / "in" / "new.wav", melody(8, 9))
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    ended = aria("build", tmp_path / "in", "--out", dataset, "--dry-run")
    assert ended.code == 0
    assert "plan (nothing was done)" in ended.out
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before
    ended = aria("build", tmp_path / "in", "--out", tmp_path / "new", "--dry-run")
    assert ended.code == 0
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere", "--out", "out"], "nowhere: is not a folder. Name a folder with recordings"),
        (["in", "--out", "file"], "file: is a file, but --out names a folder."),
        (["in", "--out", "in"], "the same folder"),
        (["in", "--out", "out", "--config", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["in", "--out", "out", "--config", "bad.toml"], "bad.toml: unknown key 'segmnt'. Did you mean 'segment'?"),
        (["in", "--out", "out", "--set", "segment.min_segment_s=long"], "'long' is not of type float"),
        (["in", "--out", "out", "--set", "release.pruned_limits=no"], "no: is neither a preset (light or heavy)"),
        (["in", "--out", "out", "--set", "transcribe.transcriber=no"], "'no' is not one of bytedance, transkun"),
        (["in", "--out", "x[y]"], "x[y]: a dataset folder's path may not hold '['. Choose another --out."),
        (["in", "--out", "x\udcff"], "a dataset folder's path may not hold"),
    ],
)
def test_wrong_usage_is_one_line_ends_with_2_and_makes_nothing(tmp_path, aria, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    write_audio(tmp_path / "in" / "a.wav", melody(6))
    (tmp_path / "file").write_text("x")
    (tmp_path / "bad.toml").write_text("[segmnt]\nx = 1")
    before = sorted(tmp_path.iterdir())
    one_line(aria("build", *arguments), 2, says)
    assert sorted(tmp_path.iterdir()) == before


def test_a_locked_dataset_is_one_line_and_ends_with_1(made, dataset, aria):
    with exclusive_lock(dataset / ".lock"):
        said = aria("build", made / "in", "--out", dataset, "--config", "defaults")
        one_line(said, 1, "another build is working in this folder")


def test_an_error_is_shown_in_full_when_asked_for(tmp_path, aria):
    with pytest.raises(Exception, match="is not a folder"):
        aria("build", tmp_path / "nowhere", "--out", tmp_path / "out", "-v")


def test_an_interrupted_build_ends_with_130_and_says_how_to_go_on(tmp_path, aria, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(flows.cli.jobs, "run_build", interrupt)
    one_line(aria("build", tmp_path, "--out", tmp_path / "out"), 130, "the same command goes on from here")


def test_a_fault_of_one_item_is_never_an_error_of_the_command(tmp_path, aria, monkeypatch):
    from flows.engine.context import BuildContext

    class Refusing(FakeDecoder):
        def finish(self):
            raise PermanentError("a.wav_0: gave up. Get the file again.", reason="gave_up")

    for number in range(2):
        write_audio(tmp_path / "in" / f"{number}.wav", melody(8, number))
    decoders = iter([Refusing, FakeDecoder])
    monkeypatch.setattr(BuildContext.transcriber, "decoder", lambda: next(decoders)(), raising=False)
    ended = aria("build", tmp_path / "in", "--out", tmp_path / "out", "--set", "segment.min_segment_s=5")
    assert ended.code == 1
    assert "2 in = 1 in the manifest + 0 rejected + 1 failed + 0 not done" in ended.out
    assert "gave_up (a.wav_0: gave up. Get the file again.)" in ended.out


# ---------------------------------------------------------------- reading


def test_a_query_prints_a_table_and_other_formats_all_columns(dataset, aria):
    ended = aria("query", dataset, "composer_id = 'chopin'")
    assert ended.code == 0
    assert "1 rows" in ended.out
    rows = list(csv.DictReader(io.StringIO(aria("query", dataset, "", "--format", "csv").out)))
    assert len(rows) == 3
    assert list(rows[0]) == arrow_schema().names
    lines = [json.loads(line) for line in aria("query", dataset, "", "--format", "jsonl").out.splitlines()]
    assert lines == Manifest(dataset).rows()
    chosen = aria("query", dataset, "", "--format", "csv", "--columns", "title, num_notes", "--limit", "1").out
    assert chosen.splitlines()[0] == '"title","num_notes"'
    assert len(chosen.splitlines()) == 2


def test_a_query_gives_paths_that_exist_and_parquet_that_can_be_read(dataset, tmp_path, aria):
    paths = aria("query", dataset, "", "--format", "paths").out.splitlines()
    assert len(paths) == 3
    assert all(Path(path).exists() for path in paths)
    assert aria("query", dataset, "", "--format", "parquet", "--output", tmp_path / "x.parquet").code == 0
    assert pq.read_table(tmp_path / "x.parquet").num_rows == 3


def test_titles_are_printed_as_they_are_not_as_markup(dataset, aria):
    ended = aria("query", dataset, "title like '%bomb%'", "--columns", "title")
    assert "[b]x :bomb: y" in ended.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["1=1); DROP TABLE manifest; --"], "the query"),
        (["no_such = 1"], "the query cannot be understood"),
        (["exists (from read_csv('/etc/passwd'))"], "the query cannot be understood"),
        (["", "--columns", "nope"], "unknown column 'nope'. Known: segment_id, "),
        (["", "--format", "parquet"], "--format parquet needs --output FILE"),
        (["", "--format", "paths", "--columns", "title"], "needs the column midi_path"),
    ],
)
def test_a_wrong_query_is_one_line_and_ends_with_2(dataset, aria, arguments, says):
    one_line(aria("query", dataset, *arguments), 2, says)


def test_a_version_that_is_not_there_is_one_line(dataset, aria):
    one_line(aria("query", dataset, "", "--version", "9"), 1, "has no version 9; its versions are 1 to 1")
    one_line(aria("diff", dataset, "1", "9"), 1, "has no version 9")


@pytest.mark.parametrize(
    "arguments", [["query"], ["versions"], ["rejections"], ["diff", "1", "2"], ["remove", "x", "--reason", "y"]]
)
def test_a_folder_without_a_dataset_is_one_line_for_every_command(tmp_path, aria, arguments):
    command, *rest = arguments
    one_line(aria(command, tmp_path / "nothing", *rest), 1, "nothing: holds no")
    assert not (tmp_path / "nothing").exists()


def test_rejections_are_listed_with_stage_reason_and_number(dataset, aria):
    ended = aria("rejections", dataset, "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(ended.out))
    assert (row["source_url"], row["stage"], row["reason"], row["is_failure"]) == (
        "broken.mp3",
        "ingest",
        "not_audio",
        "true",
    )
    assert "broken.mp3" in aria("rejections", dataset).out


def test_versions_and_diffs_tell_what_a_removal_did(dataset, aria):
    target = Manifest(dataset).rows()[0]
    ended = aria("remove", dataset, target["segment_id"], "--reason", "takedown")
    assert ended.out == "Removed 1 MIDI files; version 2 is without them, and later builds leave them out.\n"
    lines = [json.loads(line) for line in aria("versions", dataset, "--json").out.splitlines()]
    assert [(line["number"], line["num_files"], line["num_removed"]) for line in lines] == [(1, 3, 0), (2, 2, 1)]
    assert lines[1]["note"] == "removed: takedown"
    said = aria("diff", dataset, "1", "2").out
    assert said.startswith("added 0\nremoved 1\n        1 removed: takedown\nchanged 0\n")
    assert said.endswith(f"- {target['segment_id']}: removed: takedown\n")
    assert json.loads(aria("diff", dataset, "1", "2", "--json").out)["removed"] == [target["segment_id"]]
    assert "2 rows" in aria("query", dataset).out
    assert "1 rows" in aria("query", dataset, "removed_in = 2").out


def test_removing_what_is_not_there_is_one_line(dataset, aria):
    one_line(aria("remove", dataset, "nope", "--reason", "x"), 2, "has no segment, recording or source_url 'nope'")
    one_line(aria("remove", dataset, "nope", "--reason", " "), 2, "--reason is empty")


# ---------------------------------------------------------------- usage


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_that_begins_with_its_name(aria, command):
    ended = aria(command, "--help")
    assert ended.code == 0
    assert f"Usage: aria-data {command}" in ended.out
    assert f"  aria-data {command}" in ended.out.split("Examples:")[1]


@pytest.mark.parametrize(
    "arguments", [["build"], ["build", "x"], ["nope"], ["query"], ["diff", "d", "one"], ["--nope"]]
)
def test_a_wrong_command_line_ends_with_2_and_shows_the_usage(aria, arguments):
    ended = aria(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Usage: aria-data" in ended.err
    assert "Error: " in ended.err


def test_a_reader_that_has_seen_enough_is_no_error(dataset):
    script = "import sys; from flows.cli.command import main; sys.argv = ['aria-data', *sys.argv[1:]]; main()"
    command = [sys.executable, "-c", script, "query", str(dataset), "", "--format", "jsonl"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.close()
    with child.stderr:
        assert child.stderr.read() == b""
    assert child.wait() == 0


def test_help_needs_nothing_heavy():
    script = (
        "import sys\nfrom flows.cli.command import main\nsys.argv = ['aria-data', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'prefect', 'deltalake', 'duckdb', 'av', 'numpy') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_the_help_lists_every_command_once_under_its_step_and_cuts_no_line_off(aria):
    shown = aria("--help").out
    titles = [line.rstrip(":") for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles[-7:] == [*module.GROUPS]
    listed = [line.split()[0] for line in shown.split("Collect:")[1].splitlines() if line.startswith("  ")]
    assert sorted(listed) == sorted(module.cli.commands)
    assert "..." not in shown.split("Collect:")[1]
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_be_taught_to_complete_the_commands(shell):
    run = subprocess.run(
        [sys.executable, "-m", "flows.cli"], capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "_ARIA_DATA_COMPLETE": f"{shell}_source"},
    )  # fmt: skip
    assert run.returncode == 0
    assert "_aria_data_completion" in run.stdout
