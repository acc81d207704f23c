"""A cluster and an object store in one build: the dataset is that of this machine in a folder.

Ray and the store are real, on this machine; the networks are stand-ins, also in the workers.
"""

from __future__ import annotations

import os

import pytest
from fakes import melody, noise, use_fakes, write_audio
from ray_nodes import use_workers_of_tests

from aria_data.manifest import Manifest
from aria_data.storage import open_root
from flows.cli.jobs import run_build
from flows.engine.orders import Engine

pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
SETTINGS = ("segment.min_segment_s=4", "ingest.min_duration_s=1")


@pytest.mark.slow
def test_a_cluster_builds_into_a_store_what_this_machine_builds_into_a_folder(bucket, tmp_path, monkeypatch):
    for seed in range(4):
        write_audio(tmp_path / "in" / f"take {seed}.wav", melody(5, seed))
    write_audio(tmp_path / "in" / "rain.wav", noise(5))
    use_fakes(monkeypatch)
    run_build(tmp_path / "in", tmp_path / "out", settings=SETTINGS, with_prefect=False)
    (tmp_path / "marks").mkdir()
    use_workers_of_tests(monkeypatch, tmp_path / "marks")
    on_ray = Engine("ray", workers=2)
    summary = run_build(tmp_path / "in", open_root(bucket), settings=SETTINGS, with_prefect=False, engine=on_ray)
    assert (summary.num_files, summary.failures, summary.not_done) == (4, [], [])
    assert Manifest(open_root(bucket)).content_sha256() == Manifest(tmp_path / "out").content_sha256()
    workers = {int(mark.name.split()[1]) for mark in (tmp_path / "marks").glob("pid *")}
    assert workers
    assert os.getpid() not in workers
    again = run_build(tmp_path / "in", open_root(bucket), settings=SETTINGS, with_prefect=False, engine=on_ray)
    assert not again.is_new_version
