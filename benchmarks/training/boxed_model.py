"""Make the models that come with the project: tune, cut, tune on, export.

    python -m benchmarks.training.boxed_model --data PATH --runs RUNS --out FOLDER

PATH has the corpora `hi_news` and `hi_prompts`. Five runs, each begun, resumed or left as it is, by
how far it came; then the slim model and its dense twin as ONNX int8 in FOLDER/slim and
FOLDER/dense, and what `whisperslim/boxed.py` pins of them. Both models have had 1,000 updates of 8
clips, and the slim one 600 more after its cut; the recipes, and where each run begins, are below.
Scores: benchmarks.engines.wer.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from whisperslim.core.disk.storage import file_sha256
from whisperslim.engines.export.record import EXPORT_FILE, read_export
from whisperslim.jobs.run.folder import RunDir, RunStatus

_STOCK = "openai/whisper-base"
_ALWAYS = {
    "vocabulary.languages": "hi",
    "data.test": "[]",
    "interpolate.prepared": "1",
    "interpolate.result": "1",
    "data.on_problem": "skip",
    "train.batch_size": "8",
    "train.freeze_embeddings": "false",
    "export.dtype": "float32",
    "runtime.threads": "1",
}
# The rate is at its full height again in each.
_SECOND = {
    "data.max_seconds": "12",
    "train.steps": "100",
    "train.schedule": "constant",
    "train.warmup_steps": "10",
    "train.evaluate_every": "0",
    "recover.steps": "200",
    "recover.batch_size": "8",
    "recover.learning_rate": "1e-4",
    "recover.warmup_steps": "10",
    "recover.evaluate_every": "0",
    "recover.freeze_embeddings": "false",
}
_THIRD = {
    "data.max_seconds": "20",
    "augment.noise": "true",
    "train.steps": "500",
    "train.warmup_steps": "20",
    "train.average": "0.99",
    "interpolate.result": "0.7",
    "interpolate.before": _STOCK,
}
# Frames of 10 ms. In pieces much longer than the recordings it was last tuned on a model repeats
# itself; what is cut is 2 s shorter than what is heard at once.
_HEARD_AT_ONCE = {"slim": 1700, "dense": 3000}
# What follows: 0 is the share that dev likes best.
_LAST = {
    "data.max_seconds": "15",
    "augment.noise": "true",
    "interpolate.result": "0",
    "interpolate.before": _STOCK,
}


def _tuning(stage: str) -> dict[str, str]:
    """The last updates, in the stage that one model tunes in and the other recovers in."""
    values = {
        "steps": "600", "batch_size": "8", "learning_rate": "1e-4", "warmup_steps": "20",
        "freeze_embeddings": "false", "average": "0.99", "evaluate_every": "200",
        "checkpoint_every": "50",
    }  # fmt: skip
    return {f"{stage}.{name}": value for name, value in values.items()}


@dataclass(frozen=True)
class Step:
    """One run; `begins` is the name of an earlier step, or a model."""

    name: str
    preset: str
    begins: str
    changes: Mapping[str, str] = field(default_factory=dict)


# `base-hi-more` is no model in the box: it is what the updates that the slim model had after they
# part do for the dense one.
STEPS = (
    Step("base-hi-1", "dense-tuned", _STOCK, changes={
        "data.max_seconds": "26", "augment.noise": "true", "train.steps": "200",
        "train.warmup_steps": "20", "train.evaluate_every": "0",
    }),
    Step("base-hi-2", "dense-tuned", "base-hi-1", changes=_SECOND),
    Step("base-hi-dense", "dense-tuned", "base-hi-2", changes=_THIRD),
    Step("base-hi-slim", "fisher-hindi", "base-hi-dense", changes={
        **_LAST, **_tuning("recover"), "prepare.steps": "0", "target.head_width": "48",
        "target.removed": "0.5", "target.zeroed": "0",
        # The transcripts alone would pull it towards the voices of training.
        "distill.weight": "20",
    }),
    Step("base-hi-more", "dense-tuned", "base-hi-dense", changes={
        **_LAST, **_tuning("train"),
    }),
)  # fmt: skip


def main() -> None:
    """Run what is not done yet, export, and print what to pin."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="has hi_news and hi_prompts")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for step in STEPS:
        _carry_out(step, arguments.data, arguments.runs)
    for side, name in (("slim", "whisper-base-hi"), ("dense", "whisper-base-hi-dense")):
        out = arguments.out / side
        if not out.is_dir():
            _export(_newest(f"base-hi-{side}", arguments.runs), name, out)
        print(side, file_sha256(out / EXPORT_FILE))


def recipe_of(step: Step, data: Path, begins: str) -> list[str]:
    """The arguments of `compress`: a preset and each change to it."""
    values = {
        **_ALWAYS,
        "name": step.name,
        "model": begins,
        "data.train": f"{data}/hi_news,{data}/hi_prompts#train",
        "data.dev": f"{data}/hi_prompts#dev",
        **step.changes,
    }
    changes = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    return [step.preset, *changes]


def _carry_out(step: Step, data: Path, runs: Path) -> None:
    found = _found(step.name, runs)
    if found is not None and found.status() == RunStatus.FINISHED:
        return
    if found is not None:
        _whisperslim("resume", str(found.path))
        return
    made = step.begins in {each.name for each in STEPS}
    begins = str(_newest(step.begins, runs).path) if made else step.begins
    _whisperslim("compress", *recipe_of(step, data, begins), "--runs", str(runs))


def _export(run: RunDir, name: str, out: Path) -> None:
    # The record names the model by its folder.
    with tempfile.TemporaryDirectory() as scratch:
        model = shutil.copytree(run.slim_path, Path(scratch) / name)
        _whisperslim("export", str(model), str(out), "--engine", "onnx", "--quantize", "int8")
    # It is pinned by its hash; a seal of one computer says nothing on another.
    record = replace(read_export(out), seal="")
    heard = replace(record.input_spec, max_frames=_HEARD_AT_ONCE[out.name])
    replace(record, input_spec=heard).write(out)


def _newest(name: str, runs: Path) -> RunDir:
    found = _found(name, runs)
    if found is None:
        raise SystemExit(f"the run {name} is not in {runs}")
    return found


def _found(name: str, runs: Path) -> RunDir | None:
    # A run's folder is called a time, then its name: the last is the newest.
    folders = sorted(runs.glob(f"*-{name}")) if runs.is_dir() else []
    return RunDir(folders[-1]) if folders else None


def _whisperslim(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "whisperslim", *arguments], check=True)


if __name__ == "__main__":
    main()
