"""One change after the other on the same recordings: which saves how much time and size.

    python -m benchmarks.systems.ablation --dense RUN --data PATH/hi_stories \\
        --data PATH/hi_prompts#test --step "fitted window=RUN@fit" \\
        --step "vocabulary=FOLDER@fit" --step "structure=RUN@fit" \\
        --step "int8=EXPORT@fit" --step "merges=EXPORT@fit"

The first row is the dense model in stock transformers, float32, window of 30 s; the second has its
products by oneDNN, where that is float32, as steps in PyTorch have when it is faster. A step is a
model or an export of this project with the window it listens in; each should add one change to the
one before. Measured as benchmarks.systems.side_by_side does.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.shared.provenance import write_result
from benchmarks.systems.dense_systems import BOTH_WAYS, TRANSFORMERS, Make, ours, peers
from benchmarks.systems.side_by_side import run, shared_arguments, work_folder
from whisperslim.core.loading import load_model
from whisperslim.speech.audio.window import HEARING_KINDS


def main() -> None:
    """Open, measure, score, store."""
    arguments = _arguments()
    dense = load_model(arguments.dense)
    theirs = peers(dense, work_folder(dense.info.weights_sha256))
    wanted = {name: theirs[name] for name in BOTH_WAYS} | dict(map(_step, arguments.step))
    # Each row is compared with all before it, so that a table can show any two.
    with tempfile.TemporaryDirectory() as name:
        record = run(wanted, Path(name), arguments, TRANSFORMERS, tuple(wanted))
    record["what"] = "one lever after the other, on the same recordings"
    record["dense_sha256"] = dense.info.weights_sha256
    print(write_result(arguments.out, record))


def _step(text: str) -> tuple[str, Make]:
    label, _, model = text.partition("=")
    path, _, window = model.rpartition("@")
    return label, lambda: ours(path, window)


def _arguments() -> argparse.Namespace:
    parser = shared_arguments((__doc__ or "").splitlines()[0], "ablation")
    parser.add_argument("--step", action="append", required=True, metavar="LABEL=MODEL@WINDOW")
    arguments = parser.parse_args()
    for step in arguments.step:
        label, equals, model = step.partition("=")
        if not (label and equals and model.rpartition("@")[2] in HEARING_KINDS):
            parser.error(f"{step!r} is no step; write LABEL=MODEL@WINDOW")
    return arguments


if __name__ == "__main__":
    main()
