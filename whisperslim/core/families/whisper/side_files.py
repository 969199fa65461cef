"""The small files of a Hugging Face Whisper folder, from the numbers of a CTranslate2 one.

Names and fixed values are those of OpenAI's own folders on the hub. Two differences: no forced
decoder ids, which current transformers refuse, and no clean-up of spaces when decoding, which
transformers skips for this kind of tokenizer anyway.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whisperslim.errors import CheckpointError

_SAMPLING_RATE = 16_000
_HOP = 160
_CHUNK_SECONDS = 30
# The first timestamp may be at most 1.0 s, in steps of 0.02 s; OpenAI's decoding default.
_MAX_INITIAL_TIMESTAMP = 50


def write_side_files(
    folder: Path,
    sizes: Mapping[str, int],
    settings: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
) -> None:
    """Write config, generation, preprocessor and tokenizer configuration into `folder`.

    Args:
        folder: An existing folder.
        sizes: Dimensions under the names of `WhisperConfig`.
        settings: CTranslate2's `config.json`: suppressed ids, language ids, alignment heads.
        tokenizer: The contents of `tokenizer.json`.

    Raises:
        CheckpointError: a control token or a setting is missing.
    """
    tokens = {entry["content"]: int(entry["id"]) for entry in tokenizer["added_tokens"]}
    specials = [entry["content"] for entry in tokenizer["added_tokens"] if entry["special"]]
    try:
        files = {
            "config.json": model_config(sizes, settings, tokens),
            "generation_config.json": generation_config(sizes, settings, tokens),
            "preprocessor_config.json": preprocessor_config(sizes["num_mel_bins"]),
            "tokenizer_config.json": tokenizer_config(specials),
        }
    except KeyError as error:
        raise CheckpointError(f"the packaged model lacks {error}") from error
    for name, content in files.items():
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (folder / name).write_text(text, "utf-8")


def model_config(
    sizes: Mapping[str, int], settings: Mapping[str, Any], tokens: Mapping[str, int]
) -> dict[str, Any]:
    """`config.json`."""
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "is_encoder_decoder": True,
        "activation_function": "gelu",
        "scale_embedding": False,
        "num_hidden_layers": sizes["encoder_layers"],
        **sizes,
        **_ends(tokens),
        "suppress_tokens": settings["suppress_ids"],
        "begin_suppress_tokens": settings["suppress_ids_begin"],
        "dtype": "float16",
    }


def generation_config(
    sizes: Mapping[str, int], settings: Mapping[str, Any], tokens: Mapping[str, int]
) -> dict[str, Any]:
    """`generation_config.json`; language ids are those of the settings, named by the tokenizer."""
    languages = set(settings["lang_ids"])
    return {
        **_ends(tokens),
        "is_multilingual": len(languages) > 1,
        "lang_to_id": {name: i for name, i in tokens.items() if i in languages},
        "task_to_id": {task: tokens[f"<|{task}|>"] for task in ("transcribe", "translate")},
        "no_timestamps_token_id": tokens["<|notimestamps|>"],
        "prev_sot_token_id": tokens["<|startofprev|>"],
        "max_initial_timestamp_index": _MAX_INITIAL_TIMESTAMP,
        "max_length": sizes["max_target_positions"],
        "return_timestamps": False,
        "suppress_tokens": settings["suppress_ids"],
        "begin_suppress_tokens": settings["suppress_ids_begin"],
        "alignment_heads": settings["alignment_heads"],
    }


def preprocessor_config(bands: int) -> dict[str, Any]:
    """`preprocessor_config.json`: 30 s of 16 kHz sound, 25 ms windows every 10 ms."""
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": bands,
        "sampling_rate": _SAMPLING_RATE,
        "hop_length": _HOP,
        "n_fft": 400,
        "chunk_length": _CHUNK_SECONDS,
        "n_samples": _CHUNK_SECONDS * _SAMPLING_RATE,
        "nb_max_frames": _CHUNK_SECONDS * _SAMPLING_RATE // _HOP,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }


def tokenizer_config(specials: Sequence[str]) -> dict[str, Any]:
    """`tokenizer_config.json`. `specials` in the order of their ids: timestamps follow the last."""
    end = "<|endoftext|>"
    return {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "bos_token": end,
        "eos_token": end,
        "unk_token": end,
        "pad_token": end,
        "additional_special_tokens": list(specials),
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "errors": "replace",
        "model_max_length": 1024,
        "return_attention_mask": False,
    }


def _ends(tokens: Mapping[str, int]) -> dict[str, int]:
    end = tokens["<|endoftext|>"]
    start = tokens["<|startoftranscript|>"]
    return {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "decoder_start_token_id": start,
    }
