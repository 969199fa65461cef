"""Make the models that come with the project: tune, cut, tune on, export.

    python -m benchmarks.training.boxed_model --data PATH --runs RUNS --out FOLDER

PATH has the corpora `hi_news` and `hi_prompts`. Five runs, each begun, resumed or left as it is, by
how far it came; then the slim model and its dense twin as ONNX int8 in FOLDER/slim and
FOLDER/dense, and what `whisperslim/boxed.py` pins of them. Both models have had 1,000 updates of 8
clips; the recipes, and where each run begins, are below. Scores: benchmarks.engines.wer.
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

_ALWAYS = {
    "vocabulary.languages": "hi",
    "data.test": "[]",
    "data.on_problem": "skip",
    "train.batch_size": "8",
    "train.freeze_embeddings": "false",
    "export.dtype": "float32",
    "runtime.threads": "1",
}
# One schedule for both, with the rate at its full height again after the cut: 100 and 200 updates.
_TWO_STAGES = {
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
_LAST = {
    "data.max_seconds": "20",
    "augment.noise": "true",
    "train.steps": "500",
    "train.warmup_steps": "20",
    "train.average": "0.99",
}


@dataclass(frozen=True)
class Step:
    """One run: `begins` and `teacher` are names of earlier steps, or a model and none."""

    name: str
    preset: str
    begins: str
    teacher: str = ""
    changes: Mapping[str, str] = field(default_factory=dict)


STEPS = (
    Step("base-hi-1", "dense-tuned", "openai/whisper-base", changes={
        "data.max_seconds": "26", "augment.noise": "true", "train.steps": "200",
        "train.warmup_steps": "20", "train.evaluate_every": "0",
    }),
    Step("base-hi-2-dense", "dense-tuned", "base-hi-1", changes=_TWO_STAGES),
    Step("base-hi-2-slim", "sgl-hindi", "base-hi-1", changes={
        **_TWO_STAGES, "target.removed": "0.5", "target.zeroed": "0", "prepare.steps": "0",
        "shrink.compensate": "false",
    }),
    Step("base-hi-dense", "dense-tuned", "base-hi-2-dense", changes=_LAST),
    Step("base-hi-slim", "dense-tuned", "base-hi-2-slim", "base-hi-2-dense", changes=_LAST),
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


def recipe_of(step: Step, data: Path, begins: str, teacher: str) -> list[str]:
    """The arguments of `compress`: a preset and each change to it."""
    values = {
        **_ALWAYS,
        "name": step.name,
        "model": begins,
        "data.train": f"{data}/hi_news,{data}/hi_prompts#train",
        "data.dev": f"{data}/hi_prompts#dev",
        **({"distill.teacher": teacher} if teacher else {}),
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
    begins, teacher = (
        str(_newest(name, runs).path) if name in {each.name for each in STEPS} else name
        for name in (step.begins, step.teacher)
    )
    _whisperslim("compress", *recipe_of(step, data, begins, teacher), "--runs", str(runs))


def _export(run: RunDir, name: str, out: Path) -> None:
    # The record names the model by its folder.
    with tempfile.TemporaryDirectory() as scratch:
        model = shutil.copytree(run.slim_path, Path(scratch) / name)
        _whisperslim("export", str(model), str(out), "--engine", "onnx", "--quantize", "int8")
    # It is pinned by its hash; a seal of one computer says nothing on another.
    replace(read_export(out), seal="").write(out)


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
