"""Kong et al. 2021 ("High-resolution piano transcription with pedals"): the networks and post-processing of
piano-transcription-inference. Its downloader, its printing and its loop over single files are not used.

Windows of 10 s start every 5 s; of each, the middle half counts. Notes are found in chunks of a minute, with frames on
both sides so that no border changes a note: the published post-processing ends every note within 6 s.
"""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from aria_data.errors import TranscriptionFailed, UsageError
from aria_data.midi import HIGHEST_PITCH, LOWEST_PITCH, SUSTAIN, Note, Pedal, Performance
from aria_data.storage import printable, sha256_of_weights
from aria_data.transcribe import base
from aria_data.transcribe.base import Compute, TranscribeConfig, TranscriptionResult
from aria_data.transcribe.checkpoints import Checkpoint, cached_path, fetch, is_whole

# Published at Zenodo, record 4034264: name, size and licence are stated there; two package collections pin the sha256.
# A user of the package has it in ~/piano_transcription_inference_data.
CHECKPOINT = Checkpoint(
    name="CRNN_note_F1=0.9677_pedal_F1=0.9186.pth",
    url="https://zenodo.org/records/4034264/files/CRNN_note_F1%3D0.9677_pedal_F1%3D0.9186.pth?download=1",
    num_bytes=171_966_578,
    sha256="c3fa9730725bf4a762f1c14bc80cd5986eacda01b026f5a4a2525cd607876141",
    licence="CC BY 4.0",
)
OF_THE_PACKAGE = Path("piano_transcription_inference_data/note_F1=0.9677_pedal_F1=0.9186.pth")

SAMPLE_RATE = 16_000
FRAMES_PER_S = 100
WINDOW_S, HOP_S = 10, 5
GPU_BATCH_SIZE = 64
NUM_KEYS = HIGHEST_PITCH - LOWEST_PITCH + 1
THRESHOLDS = {"onset": 0.3, "offset": 0.3, "frame": 0.1, "pedal_offset": 0.2}  # of the package's inference.py
CHUNK_FRAMES = 6000
LOOK_FRAMES = 650  # a note lasts at most 600 frames
NOTE_OUTPUTS = ("reg_onset_output", "reg_offset_output", "frame_output", "velocity_output")
PEDAL_OUTPUTS = ("reg_pedal_onset_output", "reg_pedal_offset_output", "pedal_frame_output")


def load(config: TranscribeConfig, compute: Compute) -> ByteDance:
    """Load the checkpoint, fetching the published one when none is named. Raises `UsageError` for a wrong file."""
    import torch

    weights_sha256(config)  # looks at the configuration
    device = base.choose_device(compute.device)
    path = weights_file(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from piano_transcription_inference.models import Note_pedal

    model = Note_pedal(frames_per_second=FRAMES_PER_S, classes_num=NUM_KEYS)
    _load_weights(model, path)
    return ByteDance(model.eval().to(torch.device(device)), sha256_of_weights(path), device, config, compute)


def weights_sha256(config: TranscribeConfig) -> str:
    """Hash the configured checkpoint; without one, give the published file's hash, whether it was fetched or not.

    Raises `UsageError` for a checkpoint that does not exist and for a hop other than 5 s.
    """
    if config.hop_s not in (0.0, float(HOP_S)):
        raise UsageError(f"transcribe.hop_s: bytedance joins windows of 10 s in the middle, so its hop is {HOP_S} s.")
    return sha256_of_weights(_named(config)) if config.checkpoint else CHECKPOINT.sha256


def _named(config: TranscribeConfig) -> Path:
    path = Path(config.checkpoint).expanduser()
    if not path.is_file():
        raise UsageError(f"{printable(str(path))}: there is no such checkpoint. Leave it empty to have it fetched.")
    return path


def weights_file(config: TranscribeConfig) -> Path:
    """The configured checkpoint, else the published one, fetched if it is not there."""
    if config.checkpoint:
        return _named(config)
    of_the_package = Path.home() / OF_THE_PACKAGE
    return of_the_package if is_whole(of_the_package, CHECKPOINT) else fetch(CHECKPOINT, cached_path(CHECKPOINT))


def _load_weights(model: Any, path: Path) -> None:
    """Load the weights of both networks. Only tensors are read, so a hostile file cannot run code."""
    import torch

    name = printable(path.name)
    try:
        parts = torch.load(path, map_location="cpu", weights_only=True)["model"]
        missing = [
            key
            for part in ("note_model", "pedal_model")
            for key in getattr(model, part).load_state_dict(parts[part], strict=False).missing_keys
            if "_extractor." not in key  # fixed filters, which some versions do not store
        ]
    except Exception as error:  # torch raises errors of many types for a file of another format
        reason = " ".join(str(error).split())[:120]
        raise UsageError(f"{name}: is not a checkpoint of piano-transcription-inference ({reason}).") from error
    if missing:
        raise UsageError(f"{name}: lacks {len(missing)} weights, {missing[0]} for one. Get the whole file again.")


class ByteDance:
    """The loaded networks; see `Transcriber`."""

    name = "bytedance"
    sample_rate = SAMPLE_RATE
    num_channels = 1
    window = WINDOW_S * SAMPLE_RATE
    hop = HOP_S * SAMPLE_RATE
    lead = 0

    def __init__(self, model: Any, sha256: str, device: str, config: TranscribeConfig, compute: Compute):
        self.model, self.sha256, self.device = model, sha256, device
        self.num_workers = base.choose_num_workers(compute, device)
        self.correct_tuning = config.correct_tuning
        self.num_readers = base.choose_num_readers(device)
        self.batch_size = compute.batch_size or (1 if device == "cpu" else GPU_BATCH_SIZE)
        self.is_bfloat16 = compute.dtype == "bfloat16"  # never by "auto": its accuracy was not measured
        self.precision = "bfloat16" if self.is_bfloat16 else "float32"

    def infer(self, windows: np.ndarray) -> list[Any]:
        """See `Transcriber.infer`. An output holds arrays of 1001 frames, under the package's names."""
        import torch

        waveforms = torch.from_numpy(np.ascontiguousarray(windows[:, :, 0])).to(self.device)
        device_type = torch.device(self.device).type
        with torch.inference_mode(), torch.autocast(device_type, torch.bfloat16, enabled=self.is_bfloat16):
            outputs = {name: value.float().cpu().numpy() for name, value in self.model(waveforms).items()}
        return [
            _finite({name: outputs[name][index] for name in (*NOTE_OUTPUTS, *PEDAL_OUTPUTS)})
            for index in range(len(windows))
        ]

    def decoder(self) -> _Decoder:
        """Begin a new span."""
        return _Decoder()


def _finite(output: dict[str, np.ndarray]) -> Any:
    if all(np.isfinite(values).all() for values in output.values()):
        return output
    return TranscriptionFailed(
        "its audio gives the network no finite scores: samples far out of range. Encode the file again.",
        reason="scores_not_finite",
    )


class _Decoder:
    """Joins the middles of the windows. Finds notes a minute at a time; pedals, which may be long, at the end."""

    def __init__(self) -> None:
        self._frames = {name: np.zeros((0, NUM_KEYS), np.float32) for name in NOTE_OUTPUTS}
        self._pedal: dict[str, list[np.ndarray]] = {name: [] for name in PEDAL_OUTPUTS}
        self._last: dict[str, np.ndarray] | None = None
        self._is_first = True
        self._origin = 0  # the frame of the span that self._frames begin with
        self._done = 0  # notes that begin before this frame have been found
        self._notes: list[tuple[Note, float]] = []

    def add(self, output: dict[str, np.ndarray]) -> None:
        if self._last is not None:
            self._append(self._last, is_last=False)
            while len(self) >= self._done + CHUNK_FRAMES + LOOK_FRAMES:
                self._find_notes(self._done + CHUNK_FRAMES)
        self._last = output

    def __len__(self) -> int:
        return self._origin + len(self._frames[NOTE_OUTPUTS[0]])

    def _append(self, output: dict[str, np.ndarray], is_last: bool) -> None:
        """Keep the frames of a window that count: the middle half; of the first and last also the outer quarter."""
        num = len(output[NOTE_OUTPUTS[0]]) - 1  # the last frame lies past the window's end
        first = 0 if self._is_first else num // 4
        after = num * 3 // 4 if not is_last else num + self._is_first
        self._is_first = False
        for name in NOTE_OUTPUTS:
            self._frames[name] = np.concatenate([self._frames[name], output[name][first:after]])
        for name in PEDAL_OUTPUTS:
            self._pedal[name].append(output[name][first:after])

    def _find_notes(self, until: int) -> None:
        """Find the notes that begin from `self._done` on and before `until`; drop frames that no later note needs."""
        end = min(len(self), until + LOOK_FRAMES) - self._origin
        arrays = {name: values[:end] for name, values in self._frames.items()}
        events, _ = _processor().output_dict_to_midi_events(arrays)
        strength = self._frames["reg_onset_output"]
        for event in events:
            frame, key = event["onset_time"] * FRAMES_PER_S + self._origin, event["midi_note"] - LOWEST_PITCH
            if self._done - 0.5 <= frame < until - 0.5 and event["offset_time"] > event["onset_time"]:
                place = round(frame) - self._origin
                peak = float(strength[max(0, place - 1) : place + 2, key].max(initial=0.0))
                self._notes.append((_to_note(event, self._origin / FRAMES_PER_S), peak))
        self._done = until
        keep_from = max(self._origin, until - LOOK_FRAMES)
        self._frames = {name: values[keep_from - self._origin :] for name, values in self._frames.items()}
        self._origin = keep_from

    def finish(self) -> TranscriptionResult:
        """Give all notes and pedal presses. The confidence is the mean onset score, 0 to 1, not an expected F1."""
        if self._last is None:
            return TranscriptionResult(Performance())
        self._append(self._last, is_last=True)
        self._find_notes(len(self) + 1)
        pedal = {name: np.concatenate(values) for name, values in self._pedal.items()}
        keys = {name: np.zeros((len(pedal["pedal_frame_output"]), 0), np.float32) for name in NOTE_OUTPUTS}
        _, presses = _processor().output_dict_to_midi_events({**keys, **pedal})
        self._notes.sort(key=lambda pair: pair[0])
        notes, confidences = [note for note, _ in self._notes], np.array([peak for _, peak in self._notes])
        pedals = [
            Pedal(float(press["onset_time"]), float(press["offset_time"]), SUSTAIN)
            for press in presses or []
            if press["offset_time"] > press["onset_time"]
        ]
        return TranscriptionResult(
            Performance(notes, sorted(pedals)), float(confidences.mean()) if len(notes) else 0.0, confidences
        )


def _to_note(event: dict[str, Any], begin_s: float) -> Note:
    onset_s = max(0.0, begin_s + float(event["onset_time"]))
    offset_s = max(begin_s + float(event["offset_time"]), onset_s + 1e-3)
    return Note(onset_s, offset_s, int(event["midi_note"]), min(127, max(1, int(event["velocity"]))))


@functools.cache
def _processor() -> Any:
    from piano_transcription_inference.utilities import RegressionPostProcessor

    class WithoutNan(RegressionPostProcessor):
        """The published code divides zero by zero on a plateau of equal scores and gives such a note the time NaN.
        Here it has the time of its frame."""

        def get_binarized_output_from_regression(self, *arguments: Any, **named: Any) -> tuple[np.ndarray, np.ndarray]:
            with np.errstate(invalid="ignore", divide="ignore"):
                binary, shift = super().get_binarized_output_from_regression(*arguments, **named)
            return binary, np.nan_to_num(shift, posinf=0.0, neginf=0.0)

    return WithoutNan(
        FRAMES_PER_S,
        classes_num=NUM_KEYS,
        onset_threshold=THRESHOLDS["onset"],
        offset_threshold=THRESHOLDS["offset"],
        frame_threshold=THRESHOLDS["frame"],
        pedal_offset_threshold=THRESHOLDS["pedal_offset"],
    )
