"""Memory, pace and waiting over many training steps on clips of a real corpus's lengths.

    python -m benchmarks.training.memory --data PATH/hi_news --data PATH/hi_prompts#train

Plain tuning of Whisper-base with Hindi's tokens, batches of 8 with augmentation, in the precision
that `auto` gives here. Memory is what the process holds when a step is reported, every tenth one,
after freed memory has been given back; between reports it is higher.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.shared.provenance import provenance, write_result
from benchmarks.shared.scoring import short
from whisperslim.core.loading import load_model
from whisperslim.events import StepDone
from whisperslim.methods.base import Target
from whisperslim.methods.plain import Plain, PlainOptions
from whisperslim.speech.audio.augment import AugmentOptions
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.train.batches import BatchSource
from whisperslim.train.loop import Job, fit
from whisperslim.train.options import TrainOptions
from whisperslim.train.precision import choose_precision

BATCH = 8
SETTLED = 200  # steps after which memory should be level


def main() -> None:
    """Train, watch, store."""
    arguments = _arguments()
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # as in the process that does a run's work
    torch.set_num_threads(arguments.threads)
    precision = choose_precision("auto", "cpu")
    items = [item for source in arguments.data for item in load_items(source)]
    items = [item for item in items if (item.duration or 0.0) <= arguments.max_seconds]
    options = TrainOptions(
        steps=arguments.steps, batch_size=BATCH, learning_rate=1e-4, freeze_embeddings=False,
        evaluate_every=0, checkpoint_every=100_000, report_every=10,
    )  # fmt: skip
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        trim = ["trim", arguments.model, str(folder / "hi"), "--language", "hi"]
        subprocess.run([sys.executable, "-m", "whisperslim", *trim], check=True)
        speech = load_model(str(folder / "hi"))
        speech.family.freeze(speech.model, encoder=False, embeddings=False)
        augment = AugmentOptions(spec_augment=True, speed=True)
        with BatchSource(
            items, folder / "audio", WindowPolicy(), batch_size=BATCH, augment=augment, seed=0,
            input_spec=speech.input_spec,
        ) as source:  # fmt: skip
            method = Plain(PlainOptions(), Target(0.0, 0.0))
            job = Job("bench", speech, method, source, options, folder / "c", "hi", precision)
            steps = [event for event in fit(job) if isinstance(event, StepDone)]
            waited = source.waited
    late = [step.peak_memory_bytes for step in steps if step.step >= SETTLED]
    trained = sum(step.seconds_per_step * 10 for step in steps)
    record = {
        "what": "memory, pace and waiting of many training steps",
        "data": [short(source) for source in arguments.data],
        "clips": len(items),
        "longest_seconds": max(item.duration or 0.0 for item in items),
        "batch_size": BATCH,
        "precision": precision.name,
        "steps": arguments.steps,
        "memory_bytes": {step.step: step.peak_memory_bytes for step in steps},
        "rise_after_settling": max(late) / late[0] - 1.0 if late else None,
        "most_bytes": max(step.peak_memory_bytes for step in steps),
        "seconds_per_step": statistics.median(step.seconds_per_step for step in steps),
        "share_waiting": waited / trained,
        **provenance(arguments.threads),
    }
    print(write_result("training_memory", record))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="openai/whisper-base")
    parser.add_argument("--data", action="append", required=True, metavar="PATH[#SPLIT]")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--max-seconds", type=float, default=26.0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
