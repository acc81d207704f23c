"""From a file or a stream of blocks to log-mel frames. NumPy and SciPy only; no network, no decision.

    waveform 16 kHz mono -> one column of 96 mel powers in dB every 1/64 s

Frames hold absolute dB (about 0 dB for a full-scale sine). `relative_level` in `model` takes the loudness out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

MAX_SAMPLE = 1e6  # full scale is 1
TURNED, TURNED_BACK = -0.7, -0.3  # correlation of left and right: below, the right is turned; above, back again
# Containers that hold their own audio; a playlist could make FFmpeg open other files or addresses.
CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,eac3,flac,flv,iff,matroska,webm,mov,mp4,m4a,3gp,mp2,mp3,mpc,mpc8,"
    "mpeg,mpegts,ogg,oma,opus,rm,rso,shn,tak,tta,voc,w64,wav,wv,wsaud"
)


@dataclass(frozen=True)
class FeatureConfig:
    """How sound becomes frames. Aria-MIDI used 22.05 kHz, 10 ms and 256 mels; a quarter of that is enough here."""

    sample_rate: int = 16000  # piano has little above 8 kHz, and old recordings have nothing
    fft_size: int = 1024  # 64 ms: separates neighbouring partials from 300 Hz upwards, keeps attacks
    hop_size: int = 250  # 64 frames a second exactly, so that a second is a power-of-two number of frames
    num_mels: int = 96
    low_hz: float = 30.0  # A0 is 27.5 Hz; no recording shows its fundamental
    high_hz: float = 7800.0
    floor_db: float = -110.0  # below 16-bit silence

    @property
    def frames_per_s(self) -> int:
        return self.sample_rate // self.hop_size


@lru_cache(maxsize=4)
def mel_filters(config: FeatureConfig) -> np.ndarray:
    """Triangular mel filters (HTK scale), float32 of shape (num_mels, fft_size // 2 + 1), each summing to 1."""
    to_mel = lambda hz: 2595.0 * np.log10(1.0 + hz / 700.0)  # noqa: E731
    edges_mel = np.linspace(to_mel(config.low_hz), to_mel(config.high_hz), config.num_mels + 2)
    edges_hz = 700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0)
    bins_hz = np.fft.rfftfreq(config.fft_size, 1.0 / config.sample_rate)
    # the lowest filters are narrower than a bin: widen them so that none is empty
    width_hz = config.sample_rate / config.fft_size
    left, centre, right = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    left, right = np.minimum(left, centre - width_hz), np.maximum(right, centre + width_hz)
    filters = np.clip(np.minimum((bins_hz - left) / (centre - left), (right - bins_hz) / (right - centre)), 0, None)
    return (filters / filters.sum(axis=1, keepdims=True)).astype(np.float32)


class LogMel:
    """Frames from a stream. Feed blocks of any length, then `flush`.

    Frame i is centred on sample i * hop_size, as if silence stood before the first sample and after the last.
    Together, `feed` and `flush` give ceil(num_samples / hop_size) frames however the stream is cut into blocks.
    """

    def __init__(self, config: FeatureConfig | None = None):
        from scipy.sparse import csc_array

        self.config = config or FeatureConfig()
        size = self.config.fft_size
        hann = np.hanning(size + 1)[:-1]
        self._window = (hann * 2.0 / hann.sum()).astype(np.float32)
        # 980 of 49,248 weights are not 0; a dense product also wakes a library's threads, which wait for each other
        self._filters = csc_array(mel_filters(self.config).T)
        self._floor = np.float32(10.0 ** (self.config.floor_db / 10.0))
        self._rest = np.zeros(size // 2, dtype=np.float32)
        self.num_samples = 0
        self.num_frames = 0

    def feed(self, block: np.ndarray) -> np.ndarray:
        """Mono float32 samples in; every frame that is now complete out, float32 (num_frames, num_mels) in dB."""
        if block.ndim != 1:
            raise ValueError(
                f"a block is mono, of shape (num_samples,); got {block.shape}. Average the channels first."
            )
        self.num_samples += len(block)
        block = block.astype(np.float32, copy=False)
        if len(block) and not np.abs(block).max() <= MAX_SAMPLE:  # a broken file may hold NaN or absurd samples
            block = np.where(np.abs(block) <= MAX_SAMPLE, block, np.float32(0.0))
        return self._frames(np.concatenate([self._rest, block]))

    def flush(self) -> np.ndarray:
        """The last frames, which reach past the end."""
        missing = -(-self.num_samples // self.config.hop_size) - self.num_frames
        needed = (missing - 1) * self.config.hop_size + self.config.fft_size if missing > 0 else 0
        return self._frames(np.pad(self._rest, (0, max(0, needed - len(self._rest)))), limit=missing)

    def _frames(self, samples: np.ndarray, limit: int | None = None) -> np.ndarray:
        from scipy.fft import rfft

        size, hop = self.config.fft_size, self.config.hop_size
        count = max(0, (len(samples) - size) // hop + 1)
        count = count if limit is None else min(count, max(limit, 0))
        self._rest = samples[count * hop :].copy()
        self.num_frames += count
        if count == 0:
            return np.zeros((0, self.config.num_mels), dtype=np.float32)
        framed = np.lib.stride_tricks.sliding_window_view(samples, size)[: count * hop : hop]
        spectrum = rfft(framed * self._window, axis=1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        return 10.0 * np.log10(power @ self._filters + self._floor)


def log_mel(waveform: np.ndarray, config: FeatureConfig | None = None) -> np.ndarray:
    """All frames of one mono waveform at `config.sample_rate`: float32 (num_frames, num_mels) in dB."""
    stream = LogMel(config)
    return np.concatenate([stream.feed(waveform), stream.flush()])


def read_blocks(path: str | Path, sample_rate: int = 16000, block_s: float = 10.0) -> Iterator[np.ndarray]:
    """Decode the first audio stream of a file into mono float32 blocks of about `block_s`.

    Memory stays bounded; a packet that cannot be decoded is skipped. A name is a file, whatever is in it, and no other
    file or address is opened. Raises `ValueError` where there is no audio, or none that decodes.
    """
    import av

    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    with av.open(os.path.abspath(path), options=options) as container:
        if not container.streams.audio:
            raise ValueError(f"{path} has no audio stream.")
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=sample_rate)
        stream = container.streams.audio[0]
        pieces, length, is_empty = [], 0, True
        for frame in _frames_of(container, stream, resampler):
            pieces.append(frame.to_ndarray()[0])
            length, is_empty = length + pieces[-1].shape[0], False
            if length >= block_s * sample_rate:
                yield np.concatenate(pieces)
                pieces, length = [], 0
        if is_empty:
            raise ValueError(f"{path} holds no audio that decodes.")
        if pieces:
            yield np.concatenate(pieces)


def _frames_of(container, stream, resampler) -> Iterator:
    import av

    turned = _Turned()
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        for frame in frames:
            frame.pts = None  # gaps in time stamps are not silence
            for sounding in turned(frame):
                yield from resampler.resample(sounding)
    yield from resampler.resample(None)


class _Turned:
    """Turns the second of two channels where it is the first one upside down: both together would be silence."""

    def __init__(self) -> None:
        import av

        self._plain = av.AudioResampler(format="fltp", layout="stereo")
        self._power = np.zeros(3)  # of the left, the right, and both together; what was heard last counts most
        self._is_turned = False

    def __call__(self, frame) -> Iterator:
        import av

        if frame.layout.nb_channels != 2:
            yield frame
            return
        for plain in self._plain.resample(frame):
            left, right = plain.to_ndarray().astype(np.float64)
            memory = 0.96 ** (len(left) / 16_384)
            self._power = memory * self._power + np.nan_to_num([left @ left, right @ right, left @ right])
            likeness = self._power[2] / max(float(np.sqrt(self._power[0] * self._power[1])), 1e-12)
            self._is_turned = likeness < (TURNED_BACK if self._is_turned else TURNED)
            if self._is_turned:
                both = np.stack([left, -right]).astype(np.float32)
                rate = plain.sample_rate
                plain = av.AudioFrame.from_ndarray(both, format="fltp", layout="stereo")
                plain.sample_rate = rate
            plain.pts = None
            yield plain
