"""What an earlier reader refused is tried again once by today's; what was read is not."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from fakes import melody, write_audio
from web_server import Site, status

from aria_data.records import Download, Recording
from aria_data.storage.stage_tables import FAILED, StageTable

NAMES = ("Bach - Prelude.wav", "Chopin - Nocturne.wav", "noise.wav")


@pytest.fixture
def dataset(tmp_path, build):
    """A dataset whose second and third file were refused by an earlier reader; the third is no audio."""
    folder, out = tmp_path / "in", tmp_path / "out"
    for number, name in enumerate(NAMES[:2]):
        write_audio(folder / name, melody(12, seed=number))
    (folder / NAMES[2]).write_bytes(b"RIFF" + bytes(range(256)) * 40)
    build(folder, out)
    table = StageTable(out, "ingest", Recording)
    refused = {
        key
        for key, one in ((one.item_id, one) for one in table.all())
        if not one.record or "Chopin" in one.record.location
    }
    earlier = [
        replace(one, status=FAILED, reason="truncated", detail=f"{one.item_id}: is cut short.", record=None, reader=0)
        if one.item_id in refused
        else one
        for one in table.all()
    ]
    shutil.rmtree(table.path)
    table.append(earlier)
    shutil.rmtree(out / "index", ignore_errors=True)
    return folder, out


def worked(summary) -> int:
    return summary.stages["ingest"].num_worked_on


def test_a_refused_file_is_tried_again_once_and_what_was_read_is_not(dataset, build):
    folder, out = dataset
    first = build(folder, out)
    assert worked(first) == 2
    assert [line.split(":")[0] for line in first.failures] == [NAMES[2]]
    (folder / "more.txt").write_text("so that the next build looks again")
    assert worked(build(folder, out, settings=("segment.min_segment_s=6",))) == 0


def test_a_refused_file_that_is_away_stays_refused(dataset, build):
    folder, out = dataset
    folder.rename(folder.with_name("elsewhere"))
    summary = build(None, out)
    assert worked(summary) == 0
    assert len(summary.failures) == 2


def test_a_403_that_was_recorded_as_private_is_asked_again(tmp_path, build):
    settings = ("web.allow_private=true", "download.retry_s=0", "web.min_interval_s=0", "segment.min_segment_s=5")
    with Site() as site:
        (tmp_path / "list.csv").write_text(f"url,title\n{site.route('/a.flac', status(401))},Chopin: Nocturne\n")
        build(tmp_path / "list.csv", tmp_path / "out", settings=settings)
        table = StageTable(tmp_path / "out", "download", Download)
        (private,) = table.all()
        assert private.reason == "private"
        shutil.rmtree(table.path)
        table.append([replace(private, detail=private.detail.replace("401", "403"), reader=0)])
        shutil.rmtree(tmp_path / "out" / "index", ignore_errors=True)
        site.add_audio("/a.flac", seconds=12)
        assert build(None, tmp_path / "out", settings=settings).num_files == 1
