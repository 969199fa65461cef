"""What a Parakeet is given of samples: log-mel features, each band of mean 0 and variance 1.

As `ParakeetFeatureExtractor` of transformers computes them; that the model computes them here is
our choice: an export then takes plain samples, as those of wav2vec 2.0 do.
"""

from functools import lru_cache

import torch
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank

RATE, HOP, FFT, WINDOW = 16_000, 160, 512, 400
PREEMPHASIS = 0.97
LEAST_POWER = 2.0**-24
LEAST_DEVIATION = 1e-5
# A variance needs two frames.
LEAST_SAMPLES = 2 * HOP


def log_mel(samples: torch.Tensor, lengths: torch.Tensor, bands: int) -> torch.Tensor:
    """Features `(batch, frames, bands)` of samples `(batch, 160 * frames)`, in float32.

    What follows a clip's `lengths` `(batch,)` is padding: zeros, and no part of the statistics.
    """
    place = torch.arange(samples.shape[1], device=samples.device)
    wave = F.pad(samples, (1, 0))
    wave = (wave[:, 1:] - PREEMPHASIS * wave[:, :-1]).where(place < lengths[:, None], 0.0)
    spectrum = torch.stft(
        wave, FFT, HOP, WINDOW, hann(samples.device), pad_mode="constant", return_complex=True
    )
    with torch.autocast(samples.device.type, enabled=False):
        power = torch.view_as_real(spectrum).square().sum(-1)
        found = (mel_filters(bands).to(power) @ power + LEAST_POWER).log().transpose(1, 2)
    found = found[:, : samples.shape[1] // HOP]
    mask = torch.arange(found.shape[1], device=samples.device) < (lengths // HOP)[:, None]
    count, heard = mask.sum(1)[:, None, None], mask[..., None]
    mean = (found * heard).sum(1, keepdim=True) / count
    variance = ((found - mean).square() * heard).sum(1, keepdim=True) / (count - 1)
    return (found - mean) / (variance.sqrt() + LEAST_DEVIATION) * heard


def hann(device: torch.device) -> torch.Tensor:
    """Hann's window, not periodic, `(400,)`."""
    return torch.hann_window(WINDOW, periodic=False, device=device)


@lru_cache(maxsize=4)
def mel_filters(bands: int) -> torch.Tensor:
    """`(bands, 257)` triangles on Slaney's scale."""
    filters = mel_filter_bank(
        num_frequency_bins=FFT // 2 + 1, num_mel_filters=bands, min_frequency=0.0,
        max_frequency=RATE / 2, sampling_rate=RATE, norm="slaney", mel_scale="slaney",
    )  # fmt: skip
    return torch.from_numpy(filters.T.astype("float32").copy())
