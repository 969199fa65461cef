"""Random tiny Whispers and synthetic speech: all the fast tests need, made in milliseconds."""

import json
import wave
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import WhisperConfig, WhisperForConditionalGeneration

D_MODEL, HEADS, FFN, LAYERS = 32, 4, 48, 2
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
SPECIALS = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|hi|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]
END = len(BYTES)
START = END + 1
VOCABULARY = END + len(SPECIALS)
WORDS = ("नमस्ते", "पानी", "घर", "सुबह", "रात", "किताब", "हवा", "दिन")


def tiny_config() -> WhisperConfig:
    """Two layers a side, about fifty thousand parameters."""
    return WhisperConfig(
        vocab_size=VOCABULARY,
        num_mel_bins=80,
        d_model=D_MODEL,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=FFN,
        decoder_ffn_dim=FFN,
        max_source_positions=1500,
        max_target_positions=128,
        decoder_start_token_id=START,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
        suppress_tokens=None,
        begin_suppress_tokens=[END],
    )


def tiny_model(seed: int = 0) -> WhisperForConditionalGeneration:
    """Weights larger than Whisper's initial ones, so that every unit matters to the output."""
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(tiny_config()).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                parameter.normal_(0.0, 0.15)
            if "layer_norm.weight" in name:
                parameter.fill_(1.0)
    return model


def tiny_model_folder(folder: Path, seed: int = 0) -> Path:
    """A complete Hugging Face folder with a byte-level tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    model = tiny_model(seed)
    model.config.to_json_file(folder / "config.json", use_diff=False)
    tensors = {
        name: parameter.detach().contiguous()
        for name, parameter in model.named_parameters()
        if name != "proj_out.weight"
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _write_tokenizer(folder)
    (folder / "generation_config.json").write_text(
        json.dumps({"begin_suppress_tokens": [END], "eos_token_id": END, "pad_token_id": END,
                    "decoder_start_token_id": START})
    )  # fmt: skip
    return folder


def tiny_corpus(folder: Path, clips: int = 8, seed: int = 0) -> Path:
    """A manifest of short tone clips with Hindi words; splits train and test."""
    rng = np.random.default_rng(seed)
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rows = ["path\ttext\tspeaker\tsplit"]
    for index in range(clips):
        words = [WORDS[i] for i in rng.integers(0, len(WORDS), 2)]
        name = f"audio/clip_{index:02d}.wav"
        write_tone(folder / name, seconds=0.6 + 0.1 * (index % 4), pitch=200 + 40 * index)
        split = "test" if index % 4 == 3 else "train"
        rows.append(f"{name}\t{' '.join(words)} {index}\tspeaker{index % 3}\t{split}")
    (folder / "manifest.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder


def write_tone(path: Path, seconds: float, pitch: float, rate: int = 16_000) -> None:
    """A 16-bit mono sine."""
    time = np.arange(int(seconds * rate)) / rate
    samples = (0.3 * np.sin(2 * np.pi * pitch * time) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def _write_tokenizer(folder: Path) -> None:
    vocabulary = {symbol: index for index, symbol in enumerate(BYTES)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "WhisperTokenizer", "unk_token": "<|endoftext|>",
                    "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
                    "pad_token": "<|endoftext|>"})
    )  # fmt: skip
