"""`build_dataset.build`, as a notebook calls it: beside a running event loop, with Prefect imported long before."""

from __future__ import annotations

import asyncio
import os
import shutil

import prefect  # noqa: F401  a notebook may have imported it first
from fakes import melody, use_fakes, write_audio

from flows.build_dataset import build


def environment() -> dict[str, str]:
    """The environment without what torch sets when it is imported."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KMP_")}


def test_a_build_may_be_called_while_an_event_loop_runs_and_leaves_the_environment_as_it_was(
    tmp_path, prefect_home, monkeypatch, capfd
):
    use_fakes(monkeypatch)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    write_audio(tmp_path / "in" / "a.wav", melody(8))
    shutil.copytree(prefect_home, tmp_path / "out" / ".prefect")
    before = environment()

    async def cell():
        return build(tmp_path / "in", str(tmp_path / "out"), settings=["segment.min_segment_s=5"])

    summary = asyncio.run(cell())
    assert (summary.version, summary.num_files, summary.not_done, summary.failures) == (1, 1, [], [])
    assert environment() == before
    assert "Flow run" not in capfd.readouterr().err  # Prefect's log is silent unless it is asked for
    assert (tmp_path / "out" / ".prefect").is_dir()  # a real flow run
