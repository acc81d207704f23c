"""What happens between an instrument and a file: room, microphone, tape, record, codec. Mono float32 in and out.

The same random chain runs over every class, so that the network cannot tell piano from the rest by how it was
recorded.
"""

from __future__ import annotations

import io

import numpy as np
from scipy import signal

from classifiers.noises import bursts, coloured, curve

# codec name in FFmpeg, container, sample rate, bit rates in bit/s: what people upload, from good to bad
CODECS = (
    ("libmp3lame", "mp3", 44100, (48_000, 64_000, 96_000)),
    ("libmp3lame", "mp3", 22050, (24_000, 32_000, 48_000)),
    ("libopus", "ogg", 48000, (12_000, 24_000, 48_000)),
    ("aac", "adts", 44100, (32_000, 64_000)),
)


def rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)) + 1e-20))


def room(rng: np.random.Generator, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Direct sound, a few echoes and an exponential tail (T60 0.15 to 3.5 s), as one or two microphones hear it."""
    decay_s = float(np.exp(rng.uniform(np.log(0.15), np.log(3.5))))
    length = int(min(decay_s, 3.0) * sample_rate)
    response = np.zeros(length, np.float32)
    for _ in range(int(rng.integers(1, 3))):
        tail = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / (decay_s * sample_rate))
        bright = signal.sosfilt(signal.butter(1, rng.uniform(1500, 7000), fs=sample_rate, output="sos"), tail)
        early = np.zeros(length)
        places = rng.integers(1, max(2, int(0.06 * sample_rate)), 8) % length
        early[places] = rng.normal(0, 0.4, 8)
        wet = bright * 10 ** (rng.triangular(-28, -12, 3) / 20) / (np.linalg.norm(bright) + 1e-9)
        direct = np.zeros(length)
        direct[int(rng.uniform(0, 0.004) * sample_rate) % length] = 1.0
        response += (direct + early * rng.uniform(0, 1) + wet).astype(np.float32)
    return signal.fftconvolve(waveform, response)[: len(waveform)].astype(np.float32)


def equalise(rng: np.random.Generator, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """A random microphone: tilt, bumps and dips of up to 9 dB, always some low and high cut."""
    spectrum = np.fft.rfft(waveform)
    hz = np.fft.rfftfreq(len(waveform), 1 / sample_rate)
    octaves = np.log2(np.maximum(hz, 20.0) / 500.0)
    gain_db = rng.uniform(-3, 2) * octaves
    for _ in range(int(rng.integers(1, 7))):
        centre, width = rng.uniform(-4, 4), np.exp(rng.uniform(np.log(0.08), np.log(1.5)))
        gain_db += rng.uniform(-9, 6) * np.exp(-0.5 * ((octaves - centre) / width) ** 2)
    low_hz = float(np.exp(rng.uniform(np.log(15), np.log(120))))
    gain = 10 ** (gain_db / 20) / np.sqrt(1 + (low_hz / np.maximum(hz, 1.0)) ** 4)
    if rng.random() < 0.4:
        gain /= np.sqrt(1 + (hz / rng.uniform(3000, 8000)) ** int(rng.choice([4, 12, 40])))
    return np.fft.irfft(spectrum * gain, len(waveform)).astype(np.float32)


def compress(rng: np.random.Generator, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Automatic gain, then tape-like or hard saturation."""
    level = signal.lfilter(
        [1 - (a := np.exp(-1 / (rng.uniform(0.02, 0.4) * sample_rate)))], [1, -a], np.square(waveform)
    )
    ratio = rng.uniform(0.0, 0.45)
    squeezed = waveform / np.power(level + 1e-4 * level.max() + 1e-12, ratio / 2)
    if rng.random() < 0.4:
        drive = 10 ** (rng.uniform(-12, 6) / 20)
        squeezed = np.tanh(squeezed * drive / (3 * rms(squeezed)))
    return squeezed.astype(np.float32)


def wow(rng: np.random.Generator, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """A turntable or tape whose speed sways by up to 0.6 %."""
    times = np.arange(len(waveform))
    rate_hz, depth = rng.choice([0.55, 1.3, 4.0]), rng.uniform(0.0005, 0.006)
    sway = depth * sample_rate / (2 * np.pi * rate_hz) * np.sin(2 * np.pi * rate_hz * times / sample_rate)
    return np.interp(times + sway, times, waveform).astype(np.float32)


def old_record(rng: np.random.Generator, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Shellac, cylinder or worn vinyl: a horn's narrow band, surface noise, crackle, sway."""
    band = [rng.uniform(60, 300), rng.uniform(2200, 6500)]
    sections = signal.butter(int(rng.integers(1, 4)), band, "bandpass", fs=sample_rate, output="sos")
    played = wow(rng, signal.sosfilt(sections, waveform).astype(np.float32), sample_rate)
    duration_s = len(waveform) / sample_rate
    onsets_s = rng.uniform(0, duration_s, int(duration_s * np.exp(rng.uniform(0, np.log(60)))))
    crackle = bursts(rng, len(waveform), sample_rate, onsets_s, (0.0002, 0.002))
    level = rms(played) * 10 ** (-rng.uniform(10, 35) / 20)
    return played + level * (coloured(rng, len(waveform), rng.uniform(0, 1.2)) + rng.uniform(0, 2) * crackle)


def noise_floor(rng: np.random.Generator, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """Hiss, room tone or hum 18 to 70 dB under the sound."""
    noise = coloured(rng, len(waveform), rng.uniform(0, 2))
    if rng.random() < 0.25:
        times = np.arange(len(waveform)) / sample_rate
        noise += sum(rng.uniform(0, 2) * np.sin(2 * np.pi * k * rng.choice([50, 60]) * times) for k in (1, 2, 3, 5))
    level = rms(waveform) * 10 ** (-rng.uniform(18, 70) / 20)
    return waveform + np.float32(level / rms(noise)) * noise.astype(np.float32)


def encode_and_decode(
    waveform: np.ndarray, sample_rate: int, codec: str, container: str, codec_rate: int, bit_rate: int
) -> np.ndarray:
    """Through a lossy codec in memory; the same length comes back, moved by the codec's delay."""
    import av
    import soxr

    at_rate = np.clip(soxr.resample(waveform, sample_rate, codec_rate), -1, 1)
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=codec_rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(at_rate.astype(np.float32)[None, :], format="fltp", layout="mono")
        frame.sample_rate = codec_rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            output.mux(packet)
    file.seek(0)
    with av.open(file, "r") as source:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=codec_rate)
        frames = [piece for frame in source.decode(audio=0) for piece in resampler.resample(frame)]
    decoded = np.concatenate([frame.to_ndarray().ravel() for frame in frames])
    back = soxr.resample(decoded, codec_rate, sample_rate)
    return np.pad(back, (0, max(0, len(waveform) - len(back))))[: len(waveform)].astype(np.float32)


def record(rng: np.random.Generator, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """The whole random chain; peak between 0.03 and 0.99 at the end, silence stays silence."""
    if not waveform.any():
        return waveform
    if rng.random() < 0.75:
        waveform = room(rng, waveform, sample_rate)
    if rng.random() < 0.8:
        waveform = equalise(rng, waveform, sample_rate)
    if rng.random() < 0.2:
        waveform = compress(rng, waveform, sample_rate)
    if rng.random() < 0.12:
        waveform = old_record(rng, waveform, sample_rate)
    elif rng.random() < 0.85:
        waveform = noise_floor(rng, waveform, sample_rate)
    if rng.random() < 0.15:
        waveform = waveform * curve(rng, len(waveform), 5, 0.15, 1.0).astype(np.float32)
    waveform = waveform * np.float32(rng.uniform(0.03, 0.99) / (np.abs(waveform).max() + 1e-9))
    if rng.random() < 0.35:
        codec, container, codec_rate, bit_rates = CODECS[int(rng.integers(len(CODECS)))]
        waveform = encode_and_decode(waveform, sample_rate, codec, container, codec_rate, int(rng.choice(bit_rates)))
    return waveform.astype(np.float32)
