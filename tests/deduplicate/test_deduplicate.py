"""Copies are found by bytes, decoded audio, fingerprints and notes, whatever order they come in."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aria_data.deduplicate import NoteIndex, Notes, fingerprints, same_audio, same_notes, same_recording
from aria_data.deduplicate.clusters import AudioCluster, Item, clusters
from aria_data.deduplicate.note_index import is_same
from aria_data.records import Recording


def recording(name: str, audio: str = "", samples: str = "") -> Recording:
    return Recording(
        f"local-{name}", f"c-{name}", "", audio or name, samples or name, 10.0, 16_000, 1, "flac", -20.0, -3.0
    )


def never(one: str, other: str) -> bool:
    return False


def test_recordings_with_the_same_samples_share_an_audio_cluster():
    found = [recording("a", samples="s" * 64), recording("b", samples="s" * 64), recording("c", samples="t" * 64)]
    expected = {"local-a": "audio-" + "s" * 16, "local-b": "audio-" + "s" * 16, "local-c": "audio-" + "t" * 16}
    assert all(same_audio(order) == expected for order in permutations(found))


def test_nothing_has_no_copies():
    assert same_audio([]) == {}
    assert same_notes([], [], never) == {}


def by_representative(found: dict[str, AudioCluster]) -> dict[str, set[str]]:
    """Members by representative."""
    groups = {cluster.cluster_id: item for item, cluster in found.items() if cluster.is_lead}
    return {
        one: {item for item, cluster in found.items() if cluster.cluster_id == name} for name, one in groups.items()
    }


def test_a_chain_does_not_join_what_is_different():
    chain = [(f"{number}", f"{number + 1}") for number in range(4)]  # each like the next, none like the one after
    found = clusters(chain, {f"{number}": number for number in range(5)}, lambda one, other: False, "notes")
    assert by_representative(found) == {"0": {"0", "1"}, "2": {"2", "3"}, "4": {"4"}}


def test_a_copy_that_the_index_links_to_another_copy_only_is_compared_with_the_representative():
    found = clusters([("a", "b"), ("b", "c")], {"a": 0, "b": 1, "c": 2}, lambda one, other: True, "notes")
    assert by_representative(found) == {"a": {"a", "b", "c"}}


def test_the_best_is_the_representative_and_between_equals_the_first_id():
    assert by_representative(clusters([("a", "b")], {"a": 2, "b": 1}, lambda *_: False, "notes")) == {"b": {"a", "b"}}
    assert by_representative(clusters([("b", "a")], {"a": 1, "b": 1}, lambda *_: False, "notes")) == {"a": {"a", "b"}}


def test_a_cluster_keeps_its_name_when_another_is_the_representative():
    one = clusters([("a", "b")], {"a": 1, "b": 2}, lambda *_: False, "notes")
    other = clusters([("a", "b")], {"a": 2, "b": 1}, lambda *_: False, "notes")
    assert one["a"].cluster_id == other["b"].cluster_id


def test_pairs_of_what_is_gone_are_left_aside():
    assert by_representative(clusters([("a", "gone"), ("gone", "b")], {"a": 1, "b": 2}, lambda *_: True, "notes")) == {
        "a": {"a"},
        "b": {"b"},
    }


@given(st.sets(st.sampled_from(list(combinations("abcdefgh", 2)))), st.randoms(use_true_random=False))
def test_clusters_do_not_depend_on_order_and_hold_each_once_with_a_representative_it_is_like(pairs, random):
    quality = {name: random.randrange(3) for name in "abcdefgh"}

    def is_like(one: str, other: str) -> bool:
        return (one, other) in pairs or (other, one) in pairs

    mixed = [pair[:: random.choice([1, -1])] for pair in random.sample(sorted(pairs), len(pairs))]
    names = dict(random.sample(sorted(quality.items()), len(quality)))
    found = clusters(sorted(pairs), quality, is_like, "notes")
    assert clusters(mixed, names, is_like, "notes") == found
    assert set(found) == set(quality)
    for representative, members in by_representative(found).items():
        assert all(member == representative or is_like(representative, member) for member in members)
        assert quality[representative] == min(quality[member] for member in members)


def notes(seed: int, tempo: float = 1.0, num_notes: int = 300) -> Notes:
    rng = np.random.default_rng(seed)
    return Notes.of(np.cumsum(rng.uniform(0.05, 0.4, num_notes)) * tempo, rng.integers(30, 90, num_notes))


def of_index(cluster, index: NoteIndex, quality: dict[str, int]) -> dict[str, AudioCluster]:
    items = [Item(name, name, (rank,)) for name, rank in quality.items()]
    pairs = [(one, other) for one, other, _ in index.matches()]
    return cluster(items, pairs, lambda one, other: is_same(index.compare(one, other), index.config))


def test_segments_with_the_same_notes_share_a_cluster():
    index = NoteIndex()
    index.add([("a_0", notes(1)), ("b_0", notes(2)), ("c_0", notes(1, 1.02)), ("d_0", notes(1, 0.98))])
    found = of_index(same_notes, index, {"a_0": 3, "b_0": 1, "c_0": 2, "d_0": 4})
    assert by_representative(found) == {"b_0": {"b_0"}, "c_0": {"a_0", "c_0", "d_0"}}
    assert all(cluster.cluster_id.startswith("notes-") for cluster in found.values())


def test_what_has_the_same_content_is_one_cluster_with_one_representative_even_if_no_index_knows_it():
    items = [Item("x", "same", (2,)), Item("y", "same", (1,)), Item("z", "other", (0,))]
    for order in permutations(items):
        found = same_notes(order, [], never)
        assert by_representative(found) == {"y": {"x", "y"}, "z": {"z"}}


def test_the_best_item_of_the_best_content_is_the_representative():
    items = [Item("x", "p", (2,)), Item("y", "p", (1,)), Item("z", "q", (0,))]
    assert by_representative(same_notes(items, [("p", "q")], never)) == {"z": {"x", "y", "z"}}
    worse = [Item("x", "p", (2,)), Item("y", "p", (1,)), Item("z", "q", (3,))]
    assert by_representative(same_notes(worse, [("p", "q")], never)) == {"y": {"x", "y", "z"}}


def test_the_same_recording_is_known_by_its_fingerprint():
    index = NoteIndex(fingerprints.CONFIG)
    index.add([("a", notes(1)), ("b", notes(2)), ("c", notes(1, 1.01))])
    assert by_representative(of_index(same_recording, index, {"a": 2, "b": 1, "c": 1})) == {"b": {"b"}, "c": {"a", "c"}}


def test_whole_recording_and_its_two_halves_are_one_cluster_when_the_whole_is_the_representative_else_two():
    whole = notes(1)
    middle = int(whole.onset_ms[150])
    halves = (
        Notes(whole.onset_ms[:150], whole.pitch[:150]),
        Notes(whole.onset_ms[150:] - middle, whole.pitch[150:]),
    )
    index = NoteIndex()
    index.add([("whole", whole), ("one", halves[0]), ("two", halves[1])])
    best_whole, best_half = {"whole": 0, "one": 1, "two": 2}, {"whole": 3, "one": 1, "two": 2}
    assert by_representative(of_index(same_notes, index, best_whole)) == {"whole": {"whole", "one", "two"}}
    assert by_representative(of_index(same_notes, index, best_half)) == {"one": {"one", "whole"}, "two": {"two"}}
