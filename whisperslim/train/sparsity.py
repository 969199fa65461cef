"""How much of a model is exactly zero at the moment, per unit group."""

import torch

from whisperslim.core.loading import SpeechModel
from whisperslim.events import SparsityMeasured
from whisperslim.methods.base import CompressionMethod
from whisperslim.methods.unit_norms import unit_norms


@torch.no_grad()
def measure_sparsity(
    stage: str, step: int, speech: SpeechModel, method: CompressionMethod
) -> SparsityMeasured:
    """Dead units (every weight zero) and zero elements of each group, and the method's gauges."""
    dead, zero = {}, {}
    for group in speech.groups():
        norms = unit_norms(speech.model, group)
        dead[group.key] = float((norms == 0).float().mean())
        weights = [
            speech.model.get_parameter(part.parameter)
            for part in group.slices
            if part.parameter.endswith(".weight")
        ]
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        zero[group.key] = zeros / sum(weight.numel() for weight in weights)
    gauges = {name: dict(values) for name, values in method.gauges().items()}
    return SparsityMeasured(
        stage=stage, step=step, dead_units=dead, zero_elements=zero, gauges=gauges
    )
