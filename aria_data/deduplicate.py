"""Find copies among recordings: the same bytes, the same decoded audio. Copies are flagged, never deleted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

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
