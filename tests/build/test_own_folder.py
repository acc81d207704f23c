"""A folder of one's own: the sound decides, and no name of a file refuses it. Classifier and transcriber stand in."""

from __future__ import annotations

from fakes import melody, write_audio

from aria_data.manifest import Manifest
from aria_data.records import Rejection
from aria_data.storage.stage_tables import RecordTable

NAMES = (
    "Chopin Etude Op. 25 No. 7 'Cello'", "Gottschalk - Le Banjo", "Liszt - Après une lecture du Dante",
    "Rigoletto quartet paraphrase", "Wedding chorus (my version)", "Lecture 3", "How to play the trill, tutorial",
    "Violin sonata, both hands", "Organ prelude BWV 552", "four hands rehearsal", "karaoke", "Podcast episode 12",
)  # fmt: skip


def test_no_file_of_ones_own_folder_is_rejected_for_its_name(tmp_path, build):
    source = tmp_path / "recordings"
    for number, name in enumerate(NAMES):
        write_audio(source / f"{name}.wav", melody(6, seed=number))
    build(source, tmp_path / "dataset")
    rejected = list(RecordTable(tmp_path / "dataset", "rejections", Rejection).read())
    assert [(one.source_url, one.reason) for one in rejected if one.stage == "screen"] == []
    assert {row["source_url"] for row in Manifest(tmp_path / "dataset").rows()} == {f"{name}.wav" for name in NAMES}
