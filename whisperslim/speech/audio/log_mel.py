"""Whisper's input features by numpy alone, for transcribing. Training has `reference_log_mel`."""

from functools import lru_cache

import numpy as np

from whisperslim.speech.audio.audio import HOP_LENGTH, N_FFT, SAMPLE_RATE

# Slaney's mel scale (Auditory Toolbox, 1998), as librosa and Whisper have it: linear up to 1 kHz,
# above it 27 mels for each factor of 6.4 in frequency.
_HERTZ_PER_MEL = 200.0 / 3.0
_BREAK_HERTZ, _BREAK_MEL = 1000.0, 15.0
_LOG_STEP = np.log(6.4) / 27.0
_FRAMES_AT_ONCE = 256


def log_mel(audio: np.ndarray, frames: int, n_mels: int) -> np.ndarray:
    """Whisper's input features, float32 of shape (n_mels, frames).

    `audio` (float32, 16 kHz, shape (samples,)) is padded with zeros or cut to `frames` hops.
    At `frames=3000` these are the original model's features. Fewer frames are our choice: where
    the sound ends 20 ms before the window does they equal the first `frames` of the 3000; otherwise
    the last two frames see the sound mirrored, and a loudest sound that was cut moves the floor.
    """
    if audio.ndim != 1 or frames < 2:
        raise ValueError(f"need 1-D audio and at least 2 frames: {audio.shape}, {frames}")
    wanted = frames * HOP_LENGTH
    kept = audio[:wanted].astype(np.float32)
    # Frames are centered on their hop, and both ends are mirrored.
    wave = np.pad(np.pad(kept, (0, wanted - len(kept))), N_FFT // 2, mode="reflect")
    hops = np.lib.stride_tricks.sliding_window_view(wave, N_FFT)[::HOP_LENGTH][:frames]
    power = np.empty((frames, N_FFT // 2 + 1), np.float32)
    for start in range(0, frames, _FRAMES_AT_ONCE):  # all of 30 s at once would take 15 MB
        part = slice(start, start + _FRAMES_AT_ONCE)
        spectrum = np.fft.rfft(hops[part] * _window(), axis=1)
        power[part] = spectrum.real**2 + spectrum.imag**2
    log = np.log10(np.maximum(_mel_filters(n_mels) @ power.T, np.float32(1e-10)))
    features: np.ndarray = (np.maximum(log, log.max() - np.float32(8.0)) + 4.0) / 4.0
    return features


@lru_cache(maxsize=1)
def _window() -> np.ndarray:
    """Hann's window, periodic, (N_FFT,) float32."""
    phase = 2.0 * np.pi * np.arange(N_FFT) / N_FFT
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


@lru_cache(maxsize=4)
def _mel_filters(n_mels: int) -> np.ndarray:
    """(n_mels, N_FFT // 2 + 1) float32 triangles over the spectrum, each of area 1 in hertz."""
    edges = _hertz(np.linspace(0.0, _mel(SAMPLE_RATE / 2.0), n_mels + 2))
    low, top, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = np.fft.rfftfreq(N_FFT, 1.0 / SAMPLE_RATE)
    triangles = np.minimum((bins - low) / (top - low), (high - bins) / (high - top))
    return (np.maximum(triangles, 0.0) * 2.0 / (high - low)).astype(np.float32)


def _mel(hertz: float) -> float:
    """For frequencies above the break."""
    return float(_BREAK_MEL + np.log(hertz / _BREAK_HERTZ) / _LOG_STEP)


def _hertz(mels: np.ndarray) -> np.ndarray:
    above = _BREAK_HERTZ * np.exp(_LOG_STEP * (mels - _BREAK_MEL))
    return np.where(mels < _BREAK_MEL, _HERTZ_PER_MEL * mels, above)
