"""What a pass over 1,000 hours takes on 8 GPUs: an account from assumptions, nothing measured.

    python -m benchmarks.training.scale_account

Operations are counted on the shapes of each size, by the counter of `core/cost/flops.py`; all else
is arithmetic on `Assumptions`. Work and exchange are added, though they can overlap: the account
errs to the slow side there. What data loading takes is not in it.
"""

import argparse
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from benchmarks.shared.provenance import provenance, write_result
from whisperslim.core.cost.flops import WORKLOADS, count_flops
from whisperslim.core.store.checkpoint import count_parameters

# Layers of each stack, width, heads, mel bands, tokens: table 1 of Radford et al. 2022, and the
# configuration of large-v3.
SIZES = {
    "tiny": (4, 384, 6, 80, 51_865),
    "base": (6, 512, 8, 80, 51_865),
    "small": (12, 768, 12, 80, 51_865),
    "medium": (24, 1024, 16, 80, 51_865),
    "large-v3": (32, 1280, 20, 128, 51_866),
}


@dataclass(frozen=True)
class Assumptions:
    """What the account rests on; the words are printed below the table.

    Attributes:
        hours: Of recordings.
        clip_seconds: Length of a clip; the workload whose operations are counted has 5 s.
        gpus: Processes, one for each GPU.
        clips: In a micro-batch of one GPU; one micro-batch a step.
        peak: Operations a second of a GPU, from its data sheet: A100, bf16, dense.
        used: The share of the peak that training reaches.
        passes: Forward passes that a step costs: one forward, and backward as two.
        teacher: Forward passes of the dense model beside it, for distillation.
        link: Bytes a second that a GPU sends while gradients are reduced.
        gradient_bytes: Of one gradient, as exchanged.
        state_bytes: Of a checkpoint for each parameter: weight and both moments of AdamW.
        sample_bytes: Of one sample in the sound cache; 16,000 samples a second.
    """

    hours: float = 1000.0
    clip_seconds: float = 5.0
    gpus: int = 8
    clips: int = 16
    peak: float = 312e12
    used: float = 0.3
    passes: float = 3.0
    teacher: float = 1.0
    link: float = 100e9
    gradient_bytes: int = 4
    state_bytes: int = 12
    sample_bytes: int = 2


def account(parameters: int, flops: int, given: Assumptions) -> dict[str, float]:
    """One size. `flops` are those of one clip's forward pass.

    Returns:
        compute_seconds, reduce_seconds: Of one step. A ring sends 2 (N - 1) / N of the gradients
            from each of N GPUs (Patarasuk and Yuan 2009).
        reduced_bytes: That each GPU sends in a step.
        steps, hours: Of one pass over the recordings.
        checkpoint_bytes: Of one checkpoint.
        read_bytes_per_second: Of decoded sound, by all processes together.
    """
    work = given.clips * flops * (given.passes + given.teacher)
    compute = work / (given.peak * given.used)
    reduced = 2 * (given.gpus - 1) / given.gpus * given.gradient_bytes * parameters
    step = compute + reduced / given.link
    together = given.gpus * given.clips
    steps = given.hours * 3600 / given.clip_seconds / together
    return {
        "compute_seconds": compute,
        "reduced_bytes": reduced,
        "reduce_seconds": reduced / given.link,
        "steps": steps,
        "hours": steps * step / 3600,
        "checkpoint_bytes": given.state_bytes * parameters,
        "read_bytes_per_second": together * given.clip_seconds * 16_000 * given.sample_bytes / step,
    }


def cache_bytes(given: Assumptions) -> float:
    """All recordings, decoded."""
    return given.hours * 3600 * 16_000 * given.sample_bytes


def shape(size: str) -> tuple[int, int]:
    """Parameters of a size, tied ones once, and operations of one clip's forward pass."""
    layers, width, heads, bands, tokens = SIZES[size]
    config = WhisperConfig(
        vocab_size=tokens, num_mel_bins=bands, d_model=width,
        encoder_layers=layers, decoder_layers=layers,
        encoder_attention_heads=heads, decoder_attention_heads=heads,
        encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width,
    )  # fmt: skip
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    return count_parameters(model), count_flops(model, WORKLOADS[0], {}).total


def main() -> None:
    """Reckon and store."""
    given = _arguments()
    rows = {}
    for size in SIZES:
        parameters, flops = shape(size)
        rows[size] = {
            "parameters": parameters, "flops": flops, **account(parameters, flops, given),
        }  # fmt: skip
    record: dict[str, Any] = {
        "what": "an account from assumptions; nothing in it was measured",
        "assumptions": asdict(given),
        "workload": WORKLOADS[0].describe(),
        "cache_bytes": cache_bytes(given),
        "rows": rows,
        **provenance(1),
    }
    print(write_result("scale_account", record))


def _arguments() -> Assumptions:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for each in fields(Assumptions):
        kind = type(each.default)
        name = f"--{each.name.replace('_', '-')}"
        parser.add_argument(name, type=kind, default=each.default)
    return Assumptions(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
