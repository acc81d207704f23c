"""Clusters of copies: the same bytes, the same decoded audio, the same recording, the same notes. No searching.

The pairs come from an index (`note_index`). Copies are flagged, never deleted.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aria_data.records import AudioCluster, Recording


@dataclass(frozen=True)
class DeduplicateConfig:
    """Which copies to look for, besides files with the same bytes or the same decoded audio."""

    by_sound: bool = True  # the same recording, by fingerprint; decodes each recording that has piano once more
    by_notes: bool = True  # the same performance, or nearly identical notes


@dataclass(frozen=True, slots=True)
class Item:
    """A recording or segment among which copies are looked for."""

    item_id: str
    content: str  # sha256 of its samples or of its MIDI file: items of equal content are copies without a comparison
    quality: tuple[Any, ...]  # sort key, best first; longer items should sort first: a copy may be an excerpt


def same_audio(recordings: Iterable[Recording]) -> dict[str, str]:
    """Give `{recording_id: cluster_id}` by the decoded samples: one audio as FLAC and WAV, or with other tags."""
    return {each.recording_id: f"audio-{each.samples_sha256[:16]}" for each in recordings}


def same_recording(
    items: Sequence[Item], pairs: Iterable[tuple[str, str]], compare: Callable[[str, str], bool]
) -> dict[str, AudioCluster]:
    """Cluster recordings by their `fingerprints`: one recording in another codec, cut, louder, 1 % faster.

    `pairs` are pairs of contents that an index (`kept_index`) found to be the same. `compare` says whether any two
    contents are the same.
    """
    return _of_contents(items, pairs, compare, "recording")


def same_notes(
    items: Sequence[Item], pairs: Iterable[tuple[str, str]], compare: Callable[[str, str], bool]
) -> dict[str, AudioCluster]:
    """Cluster segments by their notes: copies, excerpts, the same audio transcribed again. Like `same_recording`."""
    return _of_contents(items, pairs, compare, "notes")


def _of_contents(
    items: Sequence[Item], pairs: Iterable[tuple[str, str]], compare: Callable[[str, str], bool], kind: str
) -> dict[str, AudioCluster]:
    quality: dict[str, tuple[Any, ...]] = {}
    for item in items:
        mine = (*item.quality, item.item_id)
        quality[item.content] = min(quality.get(item.content, mine), mine)
    found = clusters(pairs, quality, compare, kind)
    return {
        item.item_id: AudioCluster(
            found[item.content].cluster_id,
            found[item.content].is_lead and quality[item.content] == (*item.quality, item.item_id),
        )
        for item in items
    }


def clusters(
    pairs: Iterable[tuple[str, str]], quality: Mapping[str, Any], compare: Callable[[str, str], bool], kind: str
) -> dict[str, AudioCluster]:
    """Make clusters, each around a representative: the best item that is in no cluster yet.

    Every member is the same as the *representative*, not only as some other member: where A is like B and B like C, but
    A is not like C, a chain of pairs would join all three. So each item that is linked to a member is compared with
    the representative before it joins. Items that remain start a cluster of their own; an item without a copy is alone.

    The result does not depend on the order of pairs or ids: representatives are chosen by quality, then by id, and a
    cluster is named after its first id, a hash.
    """
    linked: dict[str, set[str]] = defaultdict(set)
    for one, other in pairs:
        if one in quality and other in quality:
            linked[one].add(other)
            linked[other].add(one)
    found: dict[str, AudioCluster] = {}
    for representative in sorted(quality, key=lambda item: (quality[item], item)):
        if representative in found:
            continue
        members = _members(representative, linked, found, compare)
        cluster_id = f"{kind}-{min(members)[:16]}"
        found |= {member: AudioCluster(cluster_id, member == representative) for member in members}
    return found


def _members(
    representative: str, linked: Mapping[str, set[str]], taken: Mapping[str, Any], compare: Callable[[str, str], bool]
) -> set[str]:
    """Give the representative and all items that are the same as it, found by following links from its members."""
    members, waiting, seen = {representative}, deque([representative]), {representative}
    while waiting:
        member = waiting.popleft()
        for near in sorted(linked.get(member, set()) - seen):
            seen.add(near)
            if near not in taken and (near in linked[representative] or compare(*sorted((representative, near)))):
                members.add(near)
                waiting.append(near)
    return members
