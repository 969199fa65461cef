"""Seconds per training step: fitted window against stock 30 s, and SGL against plain tuning.

    python -m benchmarks.training_step --model openai/whisper-base

Eight clips of Common Voice length, about five seconds. Every arm runs in turn, round after round,
so that a drift of the machine's speed meets all of them alike. The stock arm is transformers' own
`WhisperForConditionalGeneration.forward(input_features, labels)` on 3000 frames with AdamW.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.provenance import median_and_range, provenance, timed, write_result
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.methods.base import CompressionMethod, Target
from whisperslim.methods.plain import Plain, PlainOptions
from whisperslim.methods.sgl import SparseGroupLasso
from whisperslim.methods.sgl_options import SGLOptions
from whisperslim.speech.augment import AugmentOptions
from whisperslim.speech.dataset import Item, load_items
from whisperslim.speech.window import WindowPolicy
from whisperslim.train.batches import BatchSource
from whisperslim.train.forward import make_targets
from whisperslim.train.loop import Job, fit, make_optimizer
from whisperslim.train.options import TrainOptions

CLIPS = 8


def main() -> None:
    """Measure and store."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    items = _clips(arguments.data)
    with TemporaryDirectory() as folder:
        arms = _arms(arguments.model, items, Path(folder))
        times: dict[str, list[float]] = {name: [] for name in arms}
        for repeat in range(arguments.repeats + 1):
            for name, step in arms.items():
                seconds = timed(step)
                if repeat:  # The first round warms caches and allocators.
                    times[name].append(seconds)
                print(f"round {repeat} {name:14s} {seconds:6.2f} s", flush=True)
    pairs = list(zip(times["stock_30s"], times["fit_plain"], times["fit_sgl"], strict=True))
    record = {
        "what": "seconds per training step (forward, backward, AdamW) on 8 clips",
        "clips_seconds": [round(item.duration or 0.0, 2) for item in items],
        "seconds": {name: median_and_range(values) for name, values in times.items()},
        "stock_over_fit": median_and_range([stock / fit for stock, fit, _ in pairs]),
        "sgl_over_plain": median_and_range([sgl / fit for _, fit, sgl in pairs]),
        **provenance(arguments.threads),
    }
    print(write_result("training_step", record))


def _clips(data: str) -> list[Item]:
    items = [item for item in load_items(data) if item.duration]
    return sorted(items, key=lambda item: abs((item.duration or 0.0) - 5.0))[:CLIPS]


def _arms(model: str, items: list[Item], folder: Path) -> dict[str, Callable[[], None]]:
    plain = Plain(PlainOptions(), Target(0.0, 0.0))
    sgl = SparseGroupLasso(SGLOptions(), Target(0.35, 0.2))
    return {
        "stock_30s": _stock(load_model(model), items, folder),
        "fit_plain": _ours(load_model(model), plain, items, folder / "plain"),
        "fit_sgl": _ours(load_model(model), sgl, items, folder / "sgl"),
    }


def _stock(speech: SpeechModel, items: list[Item], folder: Path) -> Callable[[], None]:
    speech.family.freeze(speech.model, encoder=False, embeddings=True)
    source = _source(items, folder, WindowPolicy("30s"))
    optimizer = make_optimizer(speech.model, Plain(PlainOptions(), Target(0, 0)), TrainOptions())
    speech.model.train()

    def step() -> None:
        batch = source.draw()
        targets = make_targets(speech.tokens, batch.texts, batch.keys, "hi", 448)
        labels = targets.wanted.masked_fill(~targets.counted, -100)
        out = speech.model(
            input_features=batch.features, decoder_input_ids=targets.inputs, labels=labels
        )
        optimizer.zero_grad(set_to_none=True)
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(speech.model.parameters(), 1.0)
        optimizer.step()

    return step


def _ours(
    speech: SpeechModel, method: CompressionMethod, items: list[Item], folder: Path
) -> Callable[[], None]:
    speech.family.freeze(speech.model, encoder=False, embeddings=True)
    options = TrainOptions(steps=10_000, evaluate_every=0, checkpoint_every=100_000, report_every=1)
    source = _source(items, folder, WindowPolicy())
    job = Job("bench", speech, method, source, options, folder / "checkpoints", "hi")
    events = fit(job)

    def step() -> None:
        while next(events).kind != "step":
            pass

    return step


def _source(items: list[Item], folder: Path, window: WindowPolicy) -> BatchSource:
    return BatchSource(
        items, folder / "audio", window, batch_size=CLIPS, augment=AugmentOptions(), seed=0,
        n_mels=80,
    )  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="openai/whisper-base")
    parser.add_argument("--data", default="assets/demo_hi", help="clips of about 5 s are chosen")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=8, help="counted rounds")
    return parser.parse_args()


if __name__ == "__main__":
    main()
