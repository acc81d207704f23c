"""A build clusters copies by sound and by notes and chooses a representative; steps and one build give the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import RATE, encode_audio, noise, use_fakes, write_audio

from aria_data.manifest import Manifest, Row
from flows.cli.jobs import run_build

SETTINGS = ("segment.min_segment_s=4", "segment.lead_s=0", "segment.tail_s=0", "ingest.min_duration_s=1")


def piece(seed: int, duration_s: float = 90.0, speed: float = 1.0) -> np.ndarray:
    """Tones of two partials struck at free times and dying away, so that they have onsets; shape (num_samples, 1)."""
    rng = np.random.default_rng(seed)
    starts = np.cumsum(rng.uniform(0.25, 0.6, 400))
    pitches = rng.integers(52, 84, 400)
    waveform = np.zeros(round(duration_s / speed * RATE))
    for start, pitch in zip(starts[starts < duration_s - 1.5], pitches, strict=False):
        times = np.arange(RATE) / RATE
        hertz = 440.0 * 2.0 ** ((pitch - 69) / 12) * speed
        tone = np.exp(-4 * times) * (np.sin(2 * np.pi * hertz * times) + 0.3 * np.sin(4 * np.pi * hertz * times))
        first = round(start / speed * RATE)
        waveform[first : first + RATE] += 0.2 * tone[: len(waveform) - first]
    return waveform[:, None].astype(np.float32)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copies") / "recordings"
    whole = piece(1)
    write_audio(folder / "a whole.flac", whole)
    encode_audio(folder / "b compressed.mp3", 0.4 * whole, "libmp3lame", RATE, codec_options={"b": "48000"})
    write_audio(folder / "c cut.wav", whole[20 * RATE : 70 * RATE])
    write_audio(folder / "d faster.wav", piece(1, speed=1.01))
    write_audio(folder / "e another.flac", piece(2))
    return folder


def built(source: Path, dataset: Path, *settings: str) -> dict[str, Row]:
    run_build(source, dataset, None, [*SETTINGS, *settings], with_prefect=False)
    return {row["source_url"]: row for row in Manifest(dataset).rows()}


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    use_fakes(monkeypatch)


def test_one_recording_compressed_cut_or_faster_is_one_cluster_represented_by_its_longest_file(source, tmp_path):
    rows = built(source, tmp_path)
    copies = [rows[name] for name in ("a whole.flac", "b compressed.mp3", "c cut.wav", "d faster.wav")]
    assert len({row["recording_cluster"] for row in copies}) == 1
    assert len({row["audio_cluster"] for row in copies}) == 4
    assert [row["is_cluster_lead"] for row in copies] == [True, False, False, False]
    assert len({row["split"] for row in copies}) == 1
    other = rows["e another.flac"]
    assert other["recording_cluster"] != copies[0]["recording_cluster"]
    assert other["is_cluster_lead"]


@pytest.mark.slow
def test_a_dataset_built_in_steps_has_the_same_clusters_as_one_built_at_once(source, tmp_path):
    at_once = built(source, tmp_path / "one")
    growing = tmp_path / "recordings"
    for path in sorted(source.iterdir(), reverse=True):
        growing.mkdir(exist_ok=True)
        shutil.copy2(path, growing)
        in_steps = built(growing, tmp_path / "other")
    names = ("recording_cluster", "notes_cluster", "is_cluster_lead", "in_deduplicated")
    for name, row in at_once.items():
        assert {key: row[key] for key in names} == {key: in_steps[name][key] for key in names}, name


def test_what_is_not_asked_for_is_not_looked_for(source, tmp_path):
    rows = built(source, tmp_path, "deduplicate.by_sound=false", "deduplicate.by_notes=false")
    assert all(row["is_cluster_lead"] for row in rows.values())
    assert len({row["recording_cluster"] for row in rows.values()}) == len(rows)
    assert not (tmp_path / "tables" / "fingerprint").exists()


def test_a_recording_that_has_left_stays_and_needs_no_fingerprint(source, tmp_path):
    shutil.copytree(source, tmp_path / "recordings")
    dataset = tmp_path / "dataset"
    before = built(tmp_path / "recordings", dataset)
    shutil.rmtree(dataset / "tables" / "fingerprint")
    shutil.rmtree(dataset / "index")
    (tmp_path / "recordings" / "e another.flac").unlink()
    write_audio(tmp_path / "recordings" / "rain.wav", noise(8))
    after = built(tmp_path / "recordings", dataset)
    assert after.keys() == before.keys()
    assert [row["is_cluster_lead"] for row in after.values()] == [row["is_cluster_lead"] for row in before.values()]


@pytest.mark.parametrize("how", ["sound", "notes"])
def test_a_new_copy_of_a_recording_whose_disk_is_away_gets_its_split(tmp_path, how):
    source, out, waveform = tmp_path / "in", tmp_path / "out", piece(1, 40)
    method = f"deduplicate.by_{'notes' if how == 'sound' else 'sound'}=false"
    write_audio(source / "disk" / "a.flac", waveform)
    built(source, out, method, "release.test_share=1")
    (old,) = Manifest(out).rows()
    (source / "disk").rename(tmp_path / "away")
    if how == "sound":
        encode_audio(source / "b.mp3", 0.4 * waveform, "libmp3lame", RATE, codec_options={"b": "48000"})
    else:
        write_audio(source / "b.wav", 0.9 * waveform)
    write_audio(source / "c.wav", piece(2, 40))
    settings = ["release.test_share=0", "release.validation_share=0", "ingest.min_duration_s=2"]  # so a.flac waits
    waiting, copy, another = by_name(built(source, out, *settings))
    assert waiting == old | {"audio_reachable": False}
    same, other = ("recording_cluster", "notes_cluster") if how == "sound" else ("notes_cluster", "recording_cluster")
    assert (copy[same], copy["split"], copy["is_cluster_lead"]) == (waiting[same], "test", False)
    assert copy[other] != waiting[other]
    assert (another["split"], another["is_cluster_lead"]) == ("train", True)
    (tmp_path / "away").rename(source / "disk")
    whole, copy, another = by_name(built(source, out, *settings))
    assert (whole[same], whole["split"], another["split"]) == (copy[same], copy["split"], "train")
    assert whole == old


def by_name(rows: dict[str, Row]) -> list[Row]:
    return [row for _, row in sorted(rows.items(), key=lambda one: Path(one[0]).name)]


def test_what_was_removed_is_in_no_index(source, tmp_path):
    from flows.remove import remove_items

    dataset = tmp_path / "dataset"
    rows = built(source, dataset)
    gone = rows["e another.flac"]
    remove_items(dataset, [gone["recording_id"]], "asked for")
    assert [path.name for path in (dataset / "index").iterdir()] == ["passed"]  # it has keys, no notes and no sound
    built(source, dataset)
    kept = b"".join(path.read_bytes() for path in (dataset / "index").rglob("*.arrow"))
    assert gone["midi_sha256"].encode() not in kept
    assert rows["a whole.flac"]["midi_sha256"].encode() in kept


def test_of_copies_equally_long_the_one_whose_composition_is_known_is_the_representative(tmp_path):
    waveform = piece(3)
    titled = "Chopin - Nocturne op. 9 no. 1.mp3"
    encode_audio(tmp_path / "in" / titled, waveform, "libmp3lame", RATE, codec_options={"b": "48000"})
    write_audio(tmp_path / "in" / "a track.flac", waveform)
    rows = built(tmp_path / "in", tmp_path / "out")
    assert rows[titled]["recording_cluster"] == rows["a track.flac"]["recording_cluster"]
    assert (rows[titled]["composition_id"], rows["a track.flac"]["composition_id"]) == ("chopin:op9-1", "")
    assert (rows[titled]["is_cluster_lead"], rows["a track.flac"]["is_cluster_lead"]) == (True, False)
