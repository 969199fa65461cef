"""A tiny Whisper whose tokenizer has merges, several languages and timestamps."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import WhisperForConditionalGeneration

from tests.support.tiny import WORDS, tiny_config

TEXT = [
    *(f" {word} {word} मेरा कमरा पानी है" for word in WORDS),
    "the cat and the other cat went there in the rain, that is what they said in 1999 and 2019",
    "मेरी माता और मेरे पिता 1999 में यहाँ रहते थे।",
    " ".join(["مرحبا بالعالم، هذا نص قصير"] * 4),
]
ARABIC = "".join(pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str("ا")[0][0])
END = "<|endoftext|>"
CONTROL = [
    END, "<|startoftranscript|>", "<|en|>", "<|hi|>", "<|ar|>", "<|mr|>", "<|translate|>",
    "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
]  # fmt: skip
TIMES = [f"<|{0.02 * step:.2f}|>" for step in range(5)]


def many_tongued_folder(folder: Path, seed: int = 0) -> Path:
    """A complete Hugging Face folder, with the older tokenizer files beside the newer one."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _trained()
    ids = tokenizer.get_vocab()
    config = tiny_config()
    config.vocab_size = tokenizer.get_vocab_size()
    config.bos_token_id = config.eos_token_id = config.pad_token_id = ids[END]
    config.decoder_start_token_id = ids["<|startoftranscript|>"]
    config.begin_suppress_tokens = [ids["Ġ"], ids[END]]
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name and "layer_norm" not in name:
                parameter.normal_(0.0, 0.15)
    config.to_json_file(folder / "config.json", use_diff=False)
    tensors = {
        name: parameter.detach().contiguous()
        for name, parameter in model.named_parameters()
        if name != "proj_out.weight"
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _write_tokenizer(folder, tokenizer)
    _write(folder / "generation_config.json", _generation(ids))
    return folder


def _trained() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer: Any = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in CONTROL])
    tokenizer.add_tokens([AddedToken(token, special=False) for token in TIMES])
    return tokenizer


def _write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    layout = json.loads(tokenizer.to_str())
    _write(folder / "vocab.json", layout["model"]["vocab"])
    merges = ["#version: 0.2", *(" ".join(pair) for pair in layout["model"]["merges"])]
    (folder / "merges.txt").write_text("\n".join(merges) + "\n", "utf-8")
    entries = layout["added_tokens"]
    _write(folder / "added_tokens.json", {e["content"]: e["id"] for e in entries})
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "WhisperTokenizer", "unk_token": END, "bos_token": END,
            "eos_token": END, "pad_token": END, "additional_special_tokens": CONTROL,
            "added_tokens_decoder": {
                str(e["id"]): {k: v for k, v in e.items() if k != "id"} for e in entries
            },
        },
    )  # fmt: skip


def _generation(ids: dict[str, int]) -> dict[str, Any]:
    end, tongues = ids[END], ("<|en|>", "<|hi|>", "<|ar|>", "<|mr|>")
    return {
        "bos_token_id": end, "eos_token_id": end, "pad_token_id": end,
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        "begin_suppress_tokens": [ids["Ġ"], end],
        "suppress_tokens": [ids[token] for token in ("#", ARABIC, "<|nospeech|>")],
        "lang_to_id": {token: ids[token] for token in tongues},
        "task_to_id": {task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")},
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "is_multilingual": True, "alignment_heads": [[1, 2]],
    }  # fmt: skip


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
