"""Seconds per training step: stock 30 s windows, fitted ones, and those in bf16.

    python -m benchmarks.training.step --model openai/whisper-base

Eight clips of Common Voice length, about five seconds. Every arm runs in turn, round after round,
so that a drift of the machine's speed affects all of them alike. The stock arm is transformers' own
`WhisperForConditionalGeneration.forward(input_features, labels)` on 3000 frames with AdamW, in
float32. All arms train the same weights on the same clips.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.shared.provenance import median_and_range, provenance, timed, write_result
from whisperslim.core.families.flavours.attention_decoder import make_targets
from whisperslim.core.families.whisper.tokens import whisper_tokens
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.events import Event
from whisperslim.methods.base import CompressionMethod, Target
from whisperslim.methods.plain import Plain, PlainOptions
from whisperslim.methods.sgl.method import SparseGroupLasso
from whisperslim.methods.sgl.options import SGLOptions
from whisperslim.speech.audio.augment import AugmentOptions
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.dataset import Item, load_items
from whisperslim.train.batches import BatchSource
from whisperslim.train.loop import Job, fit, make_optimizer
from whisperslim.train.options import TrainOptions
from whisperslim.train.precision import FP32, Precision, choose_precision

CLIPS = 8
# Steps of an arm before the first counted one; what they take beyond a counted one is warm-up.
WARM_UP = 3


def main() -> None:
    """Measure and store."""
    arguments = _arguments()
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # as in the process that does a run's work
    torch.set_num_threads(arguments.threads)
    items = clips_of_five_seconds(arguments.data)
    with TemporaryDirectory() as folder:
        arms = _arms(arguments.model, items, Path(folder))
        warm_up = {name: timed(lambda step=step: [step() for _ in range(WARM_UP)])
                   for name, step in arms.items()}  # fmt: skip
        times: dict[str, list[float]] = {name: [] for name in arms}
        for repeat in range(arguments.repeats):
            for name, step in arms.items():
                times[name].append(timed(step))
                print(f"round {repeat} {name:14s} {times[name][-1]:6.2f} s", flush=True)
    seconds = {name: median_and_range(values) for name, values in times.items()}
    record = {
        "what": "seconds per training step (forward, backward, AdamW) on 8 clips",
        "clips_seconds": [round(item.duration or 0.0, 2) for item in items],
        "seconds": seconds,
        "warm_up_seconds": {
            name: warm_up[name] - WARM_UP * own["median"] for name, own in seconds.items()
        },
        "stock_over_fit": _ratio(times["stock_30s"], times["fit_fp32"]),
        **provenance(arguments.threads),
    }
    if "fit_bf16" in times:
        record["stock_over_bf16"] = _ratio(times["stock_30s"], times["fit_bf16"])
        record["fp32_over_bf16"] = _ratio(times["fit_fp32"], times["fit_bf16"])
        record["sgl_over_plain"] = _ratio(times["fit_bf16_sgl"], times["fit_bf16"])
    print(write_result("training_step", record))


def _ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    return median_and_range([a / b for a, b in zip(above, below, strict=True)])


def clips_of_five_seconds(data: str) -> list[Item]:
    items = [item for item in load_items(data) if item.duration]
    return sorted(items, key=lambda item: abs((item.duration or 0.0) - 5.0))[:CLIPS]


def _arms(model: str, items: list[Item], folder: Path) -> dict[str, Callable[[], None]]:
    plain = Plain(PlainOptions(), Target(0.0, 0.0))
    arms = {
        "stock_30s": _stock(load_model(model), items, folder),
        "fit_fp32": _ours(load_model(model), plain, items, folder / "plain", FP32),
    }
    fast = choose_precision("auto", "cpu")
    if fast.name == "bf16":
        plain, sgl = (
            Plain(PlainOptions(), Target(0.0, 0.0)),
            SparseGroupLasso(SGLOptions(strength="solved"), Target(0.35, 0.2)),
        )
        arms["fit_bf16"] = _ours(load_model(model), plain, items, folder / "bf16", fast)
        arms["fit_bf16_sgl"] = _ours(load_model(model), sgl, items, folder / "sgl", fast)
    else:
        print(f"no bf16 arms: {fast.why}")
    return arms


def _stock(speech: SpeechModel, items: list[Item], folder: Path) -> Callable[[], None]:
    speech.family.freeze(speech.model, encoder=False, embeddings=True)
    source = _source(speech, items, folder, WindowPolicy("30s"))
    optimizer = make_optimizer(speech.model, Plain(PlainOptions(), Target(0, 0)), TrainOptions())
    speech.model.train()

    def step() -> None:
        batch = source.draw()
        targets = make_targets(whisper_tokens(speech.tokens), batch.texts, batch.keys, "hi", 448)
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
    speech: SpeechModel,
    method: CompressionMethod,
    items: list[Item],
    folder: Path,
    precision: Precision,
) -> Callable[[], None]:
    events = events_of_training(speech, method, items, folder, precision)

    def step() -> None:
        while next(events).kind != "step":
            pass

    return step


def events_of_training(
    speech: SpeechModel,
    method: CompressionMethod,
    items: list[Item],
    folder: Path,
    precision: Precision,
) -> Iterator[Event]:
    """What the loop reports, at every step, of a training that does not end by itself."""
    speech.family.freeze(speech.model, encoder=False, embeddings=True)
    options = TrainOptions(steps=10_000, evaluate_every=0, checkpoint_every=100_000, report_every=1)
    source = _source(speech, items, folder, WindowPolicy())
    return fit(Job("bench", speech, method, source, options, folder / "c", "hi", precision))


def _source(
    speech: SpeechModel, items: list[Item], folder: Path, window: WindowPolicy
) -> BatchSource:
    return BatchSource(
        items, folder / "audio", window, batch_size=CLIPS, augment=AugmentOptions(), seed=0,
        input_spec=speech.input_spec,
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
