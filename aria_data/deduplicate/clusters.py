"""Find copies: the same bytes, the same decoded audio, the same recording, the same notes. Flagged, never deleted."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aria_data.records import AudioCluster, Recording


def same_bytes(recordings: Iterable[tuple[str, Recording]]) -> dict[str, str]:
    """Give `{candidate_id: the candidate_id whose identical file stands for it}`, for the copies only.

    `recordings` are (source_url, recording) pairs; of identical files the one first by `source_url` stands.
    """
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for source_url, recording in recordings:
        groups[recording.audio_sha256].append((source_url, recording.candidate_id))
    return {copy: min(group)[1] for group in groups.values() for _, copy in sorted(group)[1:]}


@dataclass(frozen=True)
class DeduplicateConfig:
    """Which copies are looked for besides those of the same bytes and the same decoded audio."""

    by_sound: bool = True  # the same recording; each recording with piano in it is decoded once more
    by_notes: bool = True  # the same performance, or notes that are nearly identical


@dataclass(frozen=True, slots=True)
class Item:
    """A recording or segment among which copies are looked for."""

    item_id: str
    content: str  # sha256 of its samples or of its MIDI file: equal ones are the same without being compared
    quality: tuple[Any, ...]  # sort key, the best lowest; the longer should come first: a copy may be part of its lead


def same_audio(recordings: Iterable[Recording]) -> dict[str, str]:
    """Give `{recording_id: cluster_id}` by the decoded samples: the same audio in FLAC and WAV, or tagged anew."""
    return {each.recording_id: f"audio-{each.samples_sha256[:16]}" for each in recordings}


def same_recording(
    items: Sequence[Item], pairs: Iterable[tuple[str, str]], compare: Callable[[str, str], bool]
) -> dict[str, AudioCluster]:
    """Cluster recordings by their `fingerprints`: one recording in another codec, cut, louder, 1 % faster.

    `pairs` of contents that are the same come from an index (`kept_index`), `compare` tells it of any two of them.
    """
    return _of_contents(items, pairs, compare, "recording")


def same_notes(
    items: Sequence[Item], pairs: Iterable[tuple[str, str]], compare: Callable[[str, str], bool]
) -> dict[str, AudioCluster]:
    """Cluster segments by their notes: copies, excerpts, the same audio transcribed again. As `same_recording`."""
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
    """Make clusters of pairs that are the same, each around a lead: the best that is in no cluster yet.

    A member is the same as its *lead*, not as some other member: where A is like B and B like C, but A not like C, a
    chain would join all three. So whoever is linked to a member is compared with the lead before it joins, and
    the pairs of the index are only where to look. What is left over makes a cluster of its own.

    Neither the order of pairs nor of ids matters: leads go by quality, then by id, and a cluster is named by its
    first id, a hash. Those without a copy are alone in theirs.
    """
    linked: dict[str, set[str]] = defaultdict(set)
    for one, other in pairs:
        if one in quality and other in quality:
            linked[one].add(other)
            linked[other].add(one)
    found: dict[str, AudioCluster] = {}
    for lead in sorted(quality, key=lambda item: (quality[item], item)):
        if lead in found:
            continue
        members = _around(lead, linked, found, compare)
        cluster_id = f"{kind}-{min(members)[:16]}"
        found |= {member: AudioCluster(cluster_id, member == lead) for member in members}
    return found


def _around(
    lead: str, linked: Mapping[str, set[str]], taken: Mapping[str, Any], compare: Callable[[str, str], bool]
) -> set[str]:
    """Give the lead and all that are the same as it, going from member to member over the links."""
    members, waiting, seen = {lead}, deque([lead]), {lead}
    while waiting:
        member = waiting.popleft()
        for near in sorted(linked.get(member, set()) - seen):
            seen.add(near)
            if near not in taken and (near in linked[lead] or compare(*sorted((lead, near)))):
                members.add(near)
                waiting.append(near)
    return members
