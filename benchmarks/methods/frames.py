"""The methods on models that score frames (CTC): a dense one is trained, then every method cuts it.

    python -m benchmarks.methods.frames open --runs FOLDER \\
        --train PATH/hi_news --train PATH/hi_prompts#train --dev PATH/hi_prompts#dev \\
        --data PATH/hi_stories --data PATH/hi_prompts#test
    python -m benchmarks.methods.frames closed --runs FOLDER --corpus PATH/hi_prompts

`open`: Whisper-base's encoder with a head over letters, real weights, texts that training has not
seen. `closed`: a six-layer Conformer from scratch. It can only learn the sentences that it is
trained with; those who speak in the corpus's split `test` are not heard in training and say the
same sentences, and every record says so. Runs that are finished are not done again, and one that
was broken off is continued: the same command goes on. The grid is that of
`benchmarks.method_table`, with its schedule; times in other engines are those of
`benchmarks.systems.side_by_side`.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import ParakeetCTCConfig, ParakeetFeatureExtractor, ParakeetForCTC

from benchmarks import method_table
from benchmarks.shared.runs import finished, make, run_name
from whisperslim.core.store.checkpoint import save_dense
from whisperslim.jobs.recipe.recipe import load_recipe, to_yaml, with_values
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.speech.scoring.normalizer import for_language

WHISPER = "openai/whisper-base"
CELLS = {
    "open": [
        (label, target, seed)
        for seed in (0, 1)
        for label, target in (
            ("gates, elements", 0.5), ("gates, elements", 0.65), ("gates, units", 0.5),
            ("gates, units", 0.65), ("L0 + distillation", 0.5), ("SGL", 0.5),
        )
    ],
    "closed": [
        ("L0 + distillation", 0.5, 0), ("gates, elements", 0.65, 0), ("gates, units", 0.65, 0),
    ],
}  # fmt: skip
NOTES = {
    "open": "open text: sentences and speakers of the test sets are not those of training",
    "closed": "closed text: the test set's sentences are among those of training, spoken by others",
}
# Of the Conformer that is trained from scratch; our choice, for some hours of speech.
CONFORMER = {
    "hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 4,
    "intermediate_size": 768, "conv_kernel_size": 31, "subsampling_factor": 4,
    "subsampling_conv_channels": 64,
}  # fmt: skip
RATES = {"open": 2e-4, "closed": 1e-3}
STEPS = {"open": 4000, "closed": 6000}


def main() -> None:
    """Train the dense model, do the grid, store it."""
    arguments, others = _arguments()
    kind, runs = arguments.kind, arguments.runs
    if kind == "closed":
        _by_speaker(arguments)
    model = WHISPER if kind == "open" else str(_conformer(runs / "conformer", arguments.train))
    row = f"dense {kind}"
    make(row, _dense(row, model, arguments), runs)
    dense = finished(run_name(row), runs)
    if dense is None:
        raise SystemExit(f"{row} is not finished; its message is above, and its run in {runs}")
    sets = [
        part
        for name in ("train", "dev", "data")
        for source in getattr(arguments, name)
        for part in (f"--{name}", source)
    ]
    cells = [part for cell in CELLS[kind] for part in ("--cell", *map(str, cell))]
    method_table.main(
        [
            "--dense", str(dense.slim_path), *sets, "--runs", str(runs / kind), *cells,
            "--threads", str(arguments.threads), "--out", f"frames_{kind}",
            "--note", NOTES[kind], *others, "--languages",
        ]
    )  # fmt: skip


def _dense(row: str, model: str, arguments: argparse.Namespace) -> str:
    """Plain training, until dev stands still."""
    kind = arguments.kind
    values: dict[str, Any] = {
        "name": run_name(row),
        "model": model,
        "head.kind": "ctc" if kind == "open" else "own",
        "target.removed": 0.0,
        "target.zeroed": 0.0,
        "data.train": tuple(arguments.train),
        "data.dev": tuple(arguments.dev),
        "data.test": (),
        "data.on_problem": "skip",
        "augment.spec_augment": True,
        "augment.speed": True,
        "prepare.steps": 0,
        "train.steps": arguments.dense_steps or STEPS[kind],
        "train.batch_size": 16,
        "train.learning_rate": RATES[kind],
        "train.warmup_steps": 400,
        "train.schedule": "linear",
        "train.evaluate_every": 250,
        "train.checkpoint_every": 250,
        "train.take": "best",
        "recover.steps": 0,
        "distill.teacher": "",
        "export.dtype": "float32",
        "runtime.threads": arguments.threads,
    }
    recipe = load_recipe(
        "whisper-ctc-hindi", ["method.name=none", "target.removed=0", "target.zeroed=0"]
    )
    return to_yaml(with_values(recipe, values))


def _conformer(folder: Path, train: Sequence[str]) -> Path:
    """A Conformer with random weights, and the letters of the training texts; made once."""
    if folder.is_dir():
        return folder
    normalized = for_language("hi")
    texts = [normalized(item.text) for source in train for item in load_items(source)]
    tokenizer = Tokenizer(BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    # No merges: a vocabulary this small has room for nothing but the letters.
    letters = BpeTrainer(vocab_size=1, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(texts, letters)
    blank = int(tokenizer.get_vocab_size())
    tokenizer.add_special_tokens([AddedToken("<pad>", normalized=False, special=True)])
    torch.manual_seed(0)
    model = ParakeetForCTC(
        ParakeetCTCConfig(vocab_size=blank + 1, pad_token_id=blank, encoder_config=CONFORMER)
    )
    with TemporaryDirectory() as place:
        tokenizer.save(str(Path(place) / "tokenizer.json"))
        ParakeetFeatureExtractor().save_pretrained(place)
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_dense(folder, model, side_files=Path(place))
    return folder


def _by_speaker(arguments: argparse.Namespace) -> None:
    """Name the parts of a corpus by who speaks: all clips of the test set's speakers are for tests.

    Every tenth of the other clips is for dev, whose speakers and sentences training knows.
    """
    items = load_items(arguments.corpus)
    unseen = {item.speaker for item in items if item.split == "test"}
    seen = [item for item in items if item.speaker not in unseen]
    parts = {
        "train": [item for place, item in enumerate(seen) if place % 10],
        "dev": seen[::10],
        "data": [item for item in items if item.speaker in unseen],
    }
    folder = arguments.runs / "by-speaker"
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["path\ttext\tspeaker\tsplit"]
    for name, part in parts.items():
        for item in part:
            copy = folder / Path(item.path).name
            if not copy.is_file():
                shutil.copyfile(item.path, copy)
            lines.append(f"{copy.name}\t{item.text}\t{item.speaker}\t{name}")
        setattr(arguments, name, [f"{folder}#{name}"])
    (folder / "manifest.tsv").write_text("\n".join(lines) + "\n", "utf-8")


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    """Those here, and what is handed on to the grid as it is."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="Other options are those of benchmarks.method_table.",
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    whole = kinds.add_parser("open", help="Whisper-base's encoder, other texts in the test sets")
    for name in ("train", "dev", "data"):
        whole.add_argument(f"--{name}", action="append", required=True, metavar="PATH[#SPLIT]")
    shut = kinds.add_parser("closed", help="a Conformer from scratch, the same texts in all sets")
    shut.add_argument("--corpus", required=True, metavar="PATH", help="with splits and speakers")
    for each in (whole, shut):
        each.add_argument("--runs", type=Path, required=True, help="folder of all runs")
        each.add_argument("--dense-steps", type=int, default=0, help="0: 4000 open, 6000 closed")
        each.add_argument("--threads", type=int, default=2)
    return parser.parse_known_args()


if __name__ == "__main__":
    main()
