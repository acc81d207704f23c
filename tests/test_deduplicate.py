"""Copies are found by bytes and by decoded audio, whatever order the recordings come in."""

from __future__ import annotations

from itertools import permutations

from aria_data.deduplicate import AudioCluster, same_audio, same_bytes
from aria_data.records import Recording


def recording(name: str, audio: str = "", samples: str = "") -> Recording:
    return Recording(
        f"local-{name}", f"c-{name}", "", audio or name, samples or name, 10.0, 16_000, 1, "flac", -20.0, -3.0
    )


def test_of_identical_files_the_first_by_address_stands_and_the_others_name_it():
    copies = [("b.wav", recording("b", "same")), ("a.wav", recording("a", "same")), ("c.wav", recording("c", "same"))]
    others = [("d.wav", recording("d"))]
    for order in permutations(copies + others):
        assert same_bytes(order) == {"c-b": "c-a", "c-c": "c-a"}


def test_recordings_with_the_same_samples_share_a_cluster_with_one_lead():
    found = [("a.wav", 5, recording("a", samples="s" * 64)), ("b.flac", 9, recording("b", samples="s" * 64))]
    found += [("c.mp3", 0, recording("c", samples="t" * 64))]
    for order in permutations(found):
        assert same_audio(order) == {
            "local-a": AudioCluster("audio-" + "s" * 16, False),  # b says more about itself
            "local-b": AudioCluster("audio-" + "s" * 16, True),
            "local-c": AudioCluster("audio-" + "t" * 16, True),
        }


def test_with_equal_metadata_the_first_address_leads():
    found = [("b.wav", 5, recording("b", samples="s")), ("a.wav", 5, recording("a", samples="s"))]
    assert [key for key, cluster in same_audio(found).items() if cluster.is_lead] == ["local-a"]


def test_nothing_has_no_copies():
    assert same_bytes([]) == {}
    assert same_audio([]) == {}
