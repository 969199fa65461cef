"""Time, memory, size and errors of every system that can run the dense or the slim model.

    python -m benchmarks.systems.side_by_side --dense RUN --slim RUN --clips 40 \\
        --data PATH/hi_stories --data PATH/hi_prompts#test

Transformers in float32 is given twice, with torch's own choice of library for products and with
oneDNN, and every factor is against the faster; where oneDNN would not be float32, it is left out.
One child process for each system, kept alive; recordings in turn, one system at a time, which one
begins rotates. Starting is not timed. Peers come from benchmarks/requirements.txt; one that is not
installed, or that cannot run, is listed with the reason. Nothing else should run meanwhile.
"""

import argparse
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.shared.provenance import provenance, write_result
from benchmarks.systems.dense_systems import (
    BOTH_WAYS,
    FASTER_INT8,
    TRANSFORMERS,
    Exports,
    dense_fitted,
    peers,
    slim_systems,
)
from benchmarks.systems.measuring import class_records, clip_records, measure, start, system_records
from benchmarks.systems.recordings import choose_clips
from whisperslim.core.loading import load_model
from whisperslim.machine.places import cache_root
from whisperslim.speech.corpus.dataset import load_items

_PEERS = ("faster-whisper", "pywhispercpp", "openai-whisper", "onnxruntime")


def main() -> None:
    """Open, measure, score, store."""
    arguments = _arguments()
    dense, slim = load_model(arguments.dense), load_model(arguments.slim)
    work = work_folder(dense.info.weights_sha256)
    exports = Exports(work, load_items(arguments.data[0]), arguments.language)
    wanted = {
        **peers(dense, work),
        **dense_fitted(dense, exports),
        **slim_systems(slim, arguments.exports, exports),
    }
    if arguments.only:
        wanted = {label: make for label, make in wanted.items() if label in arguments.only}
    with tempfile.TemporaryDirectory() as name:
        record = run(wanted, Path(name), arguments, TRANSFORMERS, (*BOTH_WAYS, FASTER_INT8))
    record["both_ways"] = list(BOTH_WAYS)
    record["dense_sha256"] = dense.info.weights_sha256
    record["slim_sha256"] = slim.info.weights_sha256
    print(write_result(arguments.out, record))


def run(
    wanted: Any,
    folder: Path,
    arguments: argparse.Namespace,
    baseline: str,
    faster_than: tuple[str, ...],
) -> dict[str, Any]:
    """Measure systems and put what was found into one record."""
    clips = choose_clips(arguments.data, arguments.clips, folder, not arguments.no_long)
    running, missing = start(wanted, arguments.language, arguments.threads, folder)
    answers = measure(running, missing, clips, arguments.repeats, arguments.pause)
    record = {
        "what": "seconds, memory, size and word errors of several systems on the same recordings",
        "baseline": baseline,
        "faster_than": list(faster_than),
        "decoding": "greedy, language given, no timestamps, no fall-back to higher temperatures",
        "language": arguments.language,
        "note": arguments.note,
        "systems": system_records(running, answers),
        "missing": missing,
        "classes": class_records(clips, answers, baseline, faster_than, arguments.language),
        "clips": clip_records(clips, answers),
        "pause_seconds": arguments.pause,
        "peers": {name: found for name in _PEERS if (found := _version(name))},
        **provenance(arguments.threads),
    }
    for process in running.values():
        process.close()
    return record


def work_folder(sha256: str) -> Path:
    """Where weights in other formats are kept from one run to the next; safe to delete."""
    folder = cache_root() / "benchmarks" / sha256[:12]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def shared_arguments(description: str, out: str) -> argparse.ArgumentParser:
    """The options that this and the ablation share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--dense", required=True, help="run or folder of the tuned dense model")
    parser.add_argument("--data", action="append", required=True, metavar="PATH[#SPLIT]")
    parser.add_argument("--clips", type=int, default=40, help="recordings of each length class")
    parser.add_argument("--no-long", action="store_true", help="leave the 3-minute recording out")
    parser.add_argument("--repeats", type=int, default=1, help="times each recording is heard")
    parser.add_argument("--pause", type=float, default=0.3, help="seconds before each turn")
    parser.add_argument("--language", default="hi")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default=out)
    parser.add_argument("--note", default="", help="free text stored with the record")
    return parser


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _arguments() -> argparse.Namespace:
    parser = shared_arguments((__doc__ or "").splitlines()[0], "side_by_side")
    parser.add_argument("--slim", required=True, help="run or slim folder")
    parser.add_argument(
        "--exports",
        nargs="*",
        default=[],
        metavar="[LABEL=]FOLDER",
        help="its exports, and others under a label; made when none is given",
    )
    parser.add_argument("--only", nargs="*", default=[], metavar="SYSTEM", help="labels; else all")
    return parser.parse_args()


if __name__ == "__main__":
    main()
