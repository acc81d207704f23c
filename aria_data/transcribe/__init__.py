"""Turn spans of audio into notes and pedals, and those into .mid files.

In: spans of audio files. Out: `TranscriptionResult`s; from `midi_output` a .mid and its `Transcription`.
Rejects nothing. Failures: `samples_not_finite`, `scores_not_finite`, `no_audio_decoded`, `decoder_crashed`.

`spans` reads audio ahead of the model, `batching` puts windows of many spans into one forward pass, `devices` runs
several devices, `checkpoints` fetches weights; `backends/` has one file a model.
"""

from aria_data.transcribe.base import Compute, TranscribeConfig, Transcriber, TranscriptionResult
from aria_data.transcribe.spans import Span, transcribe_spans

__all__ = ["Compute", "Span", "TranscribeConfig", "Transcriber", "TranscriptionResult", "transcribe_spans"]
