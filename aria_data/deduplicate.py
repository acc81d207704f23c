"""Find copies: the same bytes, the same decoded audio, the same recording, the same notes. Flagged, never deleted."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aria_data.note_index import NoteIndex, is_same
from aria_data.records import AudioCluster, Recording


def same_bytes(recordings: Iterable[tuple[str, Recording]]) -> dict[str, str]:
    """Give `{candidate_id: the candidate_id whose identical file stands for it}`, for the copies only.

    `recordings` are (source_url, recording) pairs; of identical files the one first by `source_url` stands.
    """
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for source_url, recording in recordings:
        groups[recording.audio_sha256].append((source_url, recording.candidate_id))
    return {copy: min(group)[1] for group in groups.values() for _, copy in sorted(group)[1:]}


def same_audio(recordings: Iterable[tuple[str, int, Recording]]) -> dict[str, AudioCluster]:
    """Cluster recordings by their decoded samples: the same audio in FLAC and WAV, or tagged anew.

    `recordings` are (source_url, amount of metadata, recording); the lead has the most metadata, then the
    first `source_url`.
    """
    groups: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for source_url, amount, recording in recordings:
        groups[recording.samples_sha256].append((-amount, source_url, recording.recording_id))
    return {
        recording_id: AudioCluster(f"audio-{samples_sha256[:16]}", position == 0)
        for samples_sha256, group in groups.items()
        for position, (_, _, recording_id) in enumerate(sorted(group))
    }


def same_recording(index: NoteIndex, quality: Mapping[str, Any]) -> dict[str, AudioCluster]:
    """Cluster recordings by their `fingerprints`: one recording in another codec, cut, louder, 1 % faster.

    `index` was made with `fingerprints.CONFIG`; `quality` gives for each recording_id what to sort by, the best
    lowest: the longer one should come first, because a copy may be a part of its lead. Ids that `quality` does not
    name are left aside.
    """
    return _of_index(index, quality, "recording")


def same_notes(index: NoteIndex, quality: Mapping[str, Any]) -> dict[str, AudioCluster]:
    """Cluster segments by their notes: copies, excerpts, the same audio transcribed again. `quality` as above."""
    return _of_index(index, quality, "notes")


def _of_index(index: NoteIndex, quality: Mapping[str, Any], kind: str) -> dict[str, AudioCluster]:
    pairs = ((one, other) for one, other, _ in index.matches())
    return clusters(pairs, quality, lambda one, other: is_same(index.compare(one, other), index.config), kind)


def clusters(
    pairs: Iterable[tuple[str, str]], quality: Mapping[str, Any], compare: Callable[[str, str], bool], kind: str
) -> dict[str, AudioCluster]:
    """Make clusters of pairs that are the same, each around a lead: the best that is in no cluster yet.

    A member is the same as its *lead*, not as some other member: where A is like B and B like C, but A not like C, a
    chain would join all three. So whoever is linked to a member is compared with the lead before it joins, and
    the pairs of the index are only where to look. What is left over makes a cluster of its own.

    Neither the order of pairs nor of ids matters: leads go by quality, then by id, and a cluster is named by its
    first id. Those without a copy are alone in theirs.
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
        cluster_id = f"{kind}-{hashlib.sha256(min(members).encode()).hexdigest()[:16]}"
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
