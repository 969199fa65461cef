"""Put a trimmed dense model's tokens back, so that systems that need Whisper's can run it.

    python -m benchmarks.systems.whole_vocabulary --model RUN_OR_FOLDER --out FOLDER

The rows of the tokens that were trimmed away are those of the untuned model; all other weights are
the tuned ones. The folder is an ordinary Hugging Face model, for benchmarks.systems.side_by_side.
"""

import argparse
import json
from pathlib import Path

import torch

from whisperslim.core.loading import load_model
from whisperslim.core.store.checkpoint import VOCABULARY_FILE, save_dense

_TABLE = "embed_tokens.weight"  # the output's weight is the same tensor


def main() -> None:
    """Fill in, and save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="dense model with a trimmed vocabulary")
    parser.add_argument("--base", default="openai/whisper-base", help="what it was tuned from")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    tuned, base = load_model(arguments.model), load_model(arguments.base)
    kept = json.loads((tuned.path / VOCABULARY_FILE).read_text("utf-8"))["keep"]
    whole, trimmed = dict(base.model.named_parameters()), dict(tuned.model.named_parameters())
    with torch.no_grad():
        for name, weight in trimmed.items():
            if name.endswith(_TABLE):
                whole[name][kept] = weight
            else:
                whole[name].copy_(weight)
    save_dense(arguments.out, base.model, side_files=base.path)
    print(arguments.out)


if __name__ == "__main__":
    main()
