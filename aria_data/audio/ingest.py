"""The step that verifies a candidate's audio: decode it to its end, measure it, hash it, judge its level and length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from aria_data.audio.decode import AudioFacts, inspect, probe
from aria_data.audio.integrity import IntegrityLimits, require_whole
from aria_data.errors import AudioUnreachable, AudioUnreadable
from aria_data.records import Candidate, Download, Recording, Verdict
from aria_data.storage import sha256_file


@dataclass(frozen=True)
class IngestConfig(IntegrityLimits):
    """What audio must fulfil to be classified and transcribed."""

    min_loudness_db: float = -70.0  # root mean square of the file; dithered 16-bit silence measures about -93 dB
    min_duration_s: float = 5.0  # one classifier window
    max_duration_s: float = 43_200.0  # 12 hours


def ingest(candidate: Candidate, path: Path, config: IngestConfig) -> tuple[Recording, Verdict]:
    """Decode the file at `path` to its end and judge it.

    Raises `AudioUnreadable` for a fault of the file (not audio, empty, cut short, damaged) and for one longer than
    `max_duration_s`. Silence and a file that is too short are expected rejections: the verdict holds them, and a note
    where the file is odd but can be read.
    """
    return ingest_decoded(candidate, path, inspect(path, config.max_duration_s), sha256_file(path), config)


def ingest_decoded(
    candidate: Candidate, path: Path, facts: AudioFacts, audio_sha256: str, config: IngestConfig
) -> tuple[Recording, Verdict]:
    """Judge a file that was decoded to its end; `audio_sha256` is of its bytes. Raises as `ingest` does."""
    require_whole(path.name, facts, config)
    recording = Recording(
        recording_id=f"{candidate.source}-{audio_sha256[:16]}",
        candidate_id=candidate.candidate_id,
        location=candidate.location,
        audio_sha256=audio_sha256,
        samples_sha256=facts.samples_sha256,
        duration_s=round(facts.duration_s, 6),
        sample_rate=facts.info.sample_rate,
        num_channels=facts.info.num_channels,
        codec=facts.info.codec,
        loudness_db=round(facts.loudness_db, 2),
        peak_db=round(facts.peak_db, 2),
    )
    return recording, replace(verdict(recording, config), note="; ".join(facts.notes))


def ingest_download(download: Download, config: IngestConfig) -> tuple[Recording, Verdict]:
    """Judge audio that was decoded to its end when it was fetched. The recording has the candidate's id."""
    recording = Recording(
        recording_id=download.candidate_id,
        candidate_id=download.candidate_id,
        location=download.audio_path,
        audio_sha256=download.audio_sha256,
        samples_sha256=download.samples_sha256,
        duration_s=download.duration_s,
        sample_rate=download.sample_rate,
        num_channels=download.num_channels,
        codec=download.codec,
        loudness_db=download.loudness_db,
        peak_db=download.peak_db,
    )
    return recording, verdict(recording, config)


def remarks_on(path: Path) -> str:
    """Give what a fetched file's header shows to be odd; nothing of a file that is away."""
    try:
        return "; ".join(probe(path).notes)
    except (AudioUnreadable, AudioUnreachable):
        return ""


def verdict(recording: Recording, config: IngestConfig) -> Verdict:
    """Judge level and length: `silent`, `duration_below_min` or `duration_above_max`."""
    if recording.loudness_db < config.min_loudness_db:
        return Verdict(False, "silent", recording.loudness_db)
    if recording.duration_s < config.min_duration_s:
        return Verdict(False, "duration_below_min", recording.duration_s)
    if recording.duration_s > config.max_duration_s:
        return Verdict(False, "duration_above_max", recording.duration_s)
    return Verdict(True)
