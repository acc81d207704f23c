"""Audio files: decoding, containers, integrity, tuning; and `ingest`, the step that checks a candidate's file.

In: a path. Out: blocks of samples, `AudioInfo`, `AudioFacts`; from `ingest` a `Recording`.
Rejections of ingest: `silent`, `duration_below_min`, `duration_above_max`. Failures: `not_audio`, `truncated`,
`sound_left_out`, `damaged`, `samples_not_finite`, `samples_out_of_range`, `too_many_channels`, `no_audio_stream`,
`no_audio_decoded`, `too_long`, `empty_file`, `not_a_file`; docs/audio.md has the table of what leads to which. What
cannot be read now (`reachable`) is neither: it is not done.

Steps before `ingest` use this room, too: collecting reads tags, downloading verifies what was fetched.
"""

from aria_data.audio.decode import AudioFacts, AudioReader, Readers, inspect, mono_blocks, probe
from aria_data.audio.decoded import AudioInfo, Decoded
from aria_data.audio.ingest import IngestConfig, ingest, ingest_download, remarks_on
from aria_data.audio.integrity import IntegrityLimits, require_whole

__all__ = [
    "AudioFacts",
    "AudioInfo",
    "AudioReader",
    "Decoded",
    "IngestConfig",
    "IntegrityLimits",
    "Readers",
    "ingest",
    "ingest_download",
    "inspect",
    "mono_blocks",
    "probe",
    "remarks_on",
    "require_whole",
]
