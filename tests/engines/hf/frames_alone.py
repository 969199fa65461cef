"""What somebody without this package does with the folders of CTC models: transformers alone.

`python frames_alone.py SOUND.npy FOLDER...` prints one JSON list, an entry a folder.
"""

import json
import sys
import warnings
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModelForCTC, AutoProcessor, pipeline

RATE = 16_000


def use(folder: str, sound: np.ndarray) -> dict[str, Any]:
    trust = {"trust_remote_code": True} if "cut" in folder else {}
    model = AutoModelForCTC.from_pretrained(folder, **trust).eval()
    extractor = AutoFeatureExtractor.from_pretrained(folder, **trust)
    given = extractor(sound, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        logits = model(**given).logits[0]
    processor = AutoProcessor.from_pretrained(folder, **trust)
    listen = pipeline("automatic-speech-recognition", model=folder, **trust)
    return {
        "class": type(model).__name__,
        "logits": logits.tolist(),
        "text": processor.decode(logits.argmax(-1).tolist()),
        "pipeline": listen(sound.copy())["text"],
    }


if __name__ == "__main__":
    for absent in ("whisperslim", "librosa", "scipy", "soundfile", "soxr", "av"):
        sys.modules[absent] = None  # type: ignore[assignment]  # importing it fails now
    warnings.simplefilter("ignore")
    heard = np.load(sys.argv[1])
    print(json.dumps([use(folder, heard) for folder in sys.argv[2:]]))
