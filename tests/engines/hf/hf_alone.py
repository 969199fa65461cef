"""What somebody without this package does with an exported folder: transformers alone.

`python hf_alone.py FOLDER...` prints one JSON list, an entry a folder.
"""

import json
import sys
import warnings
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    WhisperFeatureExtractor,
    pipeline,
)

PITCH, SECONDS, RATE = 300.0, 1.3, 16_000


def sound(seconds: float = SECONDS) -> np.ndarray:
    """The recording that both sides hear."""
    time = np.arange(int(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * PITCH * time)).astype(np.float32)


def use(folder: str) -> dict[str, Any]:
    model = AutoModelForSpeechSeq2Seq.from_pretrained(folder, trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
    listen = pipeline("automatic-speech-recognition", model=folder, trust_remote_code=True)
    stock = WhisperFeatureExtractor.from_pretrained(folder)
    reported: dict[str, Any] = {"dtype": str(model.dtype), "too_long": ""}
    for name, extractor in (("fit", processor.feature_extractor), ("30s", stock)):
        mel = extractor(sound(), sampling_rate=RATE, return_tensors="pt").input_features
        with torch.no_grad():
            states = model.model.encoder(mel.to(model.dtype)).last_hidden_state
        ids = model.generate(mel.to(model.dtype), max_new_tokens=20)[0].tolist()
        reported[name] = {
            "frames": mel.shape[-1],
            "states": states[0, ::25].float().tolist(),
            "ids": ids,
            "text": processor.tokenizer.decode(ids, skip_special_tokens=True),
        }
    options: dict[str, Any] = {"generate_kwargs": {"max_new_tokens": 20}}
    reported["pipeline"] = listen(sound(), **options)["text"]
    listen.feature_extractor = stock
    reported["pipeline_30s"] = listen(sound(), **options)["text"]
    listen.feature_extractor = processor.feature_extractor
    long = sound(31.0)
    pieces = listen(long, chunk_length_s=28, stride_length_s=0, **options)
    reported["pieces"] = len(pieces["text"])
    try:
        listen(long)
    except ValueError as error:
        reported["too_long"] = str(error)
    return reported


if __name__ == "__main__":
    for absent in ("whisperslim", "librosa", "scipy", "soundfile", "soxr", "av"):
        sys.modules[absent] = None  # type: ignore[assignment]  # importing it fails now
    warnings.simplefilter("ignore")
    print(json.dumps([use(folder) for folder in sys.argv[1:]]))
