"""A cut Whisper as a Hugging Face folder: one list of sizes a kind of unit, and its own window.

config.json                  `model_type` whisper_slim, units of each layer
modeling_whisper_slim.py     the code that `trust_remote_code=True` asks about
preprocessor_config.json     features in fitted windows
generation_config.json       greedy, in the language the model was tuned for
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from whisperslim.core.families.base import UnitGroup
from whisperslim.core.families.configuration import CONFIG_FILE, read_configuration
from whisperslim.core.families.hearing import Tokens
from whisperslim.core.families.hf_remote import modeling_whisper_slim as remote
from whisperslim.core.families.hf_remote.form import (
    FEATURES_FILE,
    CardWords,
    HfSource,
    config_table,
    ranks_table,
)
from whisperslim.core.families.whisper.decoder import as_whisper, suppression
from whisperslim.core.families.whisper.folder import WhisperFolder, check_config
from whisperslim.core.families.whisper.tokens import whisper_tokens
from whisperslim.speech.audio.audio import HOP_LENGTH, N_FFT, SAMPLE_RATE
from whisperslim.speech.audio.window import MIN_WINDOW_SECONDS, WindowPolicy

REMOTE_FILE = Path(remote.__file__)

# Part of the group's key -> name of the list in `hf_remote.modeling_whisper_slim`. Widths of heads
# have lists of their own, with `_width` behind the name.
_LISTS = {
    ("encoder", "self_attn.heads"): "encoder_heads",
    ("encoder", "ffn"): "encoder_ffn",
    ("decoder", "self_attn.heads"): "decoder_heads",
    ("decoder", "encoder_attn.heads"): "decoder_cross_heads",
    ("decoder", "ffn"): "decoder_ffn",
}
MODEL_TYPE = "whisper_slim"
MODEL_CLASS, CONFIG_CLASS = "WhisperForConditionalGeneration", "WhisperSlimConfig"
FEATURES_CLASS = "WhisperSlimFeatureExtractor"
# Of the dense model, and wrong or unused for a cut one: numbers of heads, an older way to prompt.
_NOT_OURS = ("alignment_heads", "forced_decoder_ids", "_from_model_config", "prev_sot_token_id")
REASON = "stock Whisper cannot have layers of different widths"
LICENSE = (
    "OpenAI's own Whisper weights, which other Whisper models usually start from, are under the "
    "MIT license."
)
_LANGUAGE = """Recordings over 30 s: `listen("long.wav", chunk_length_s=28, stride_length_s=0)`.
The language is LANGUAGE; for another that the vocabulary has,
`generate_kwargs={"language": "en"}`. There are no timestamps."""
WINDOW = """**Window.** Stock Whisper fills every recording up to 30 s. This folder's feature
extractor fits the window to the recording, which the model was tuned for and which is several
times faster for short ones. The pipeline can put recordings of one length alone into a batch, so
leave its `batch_size` at 1. For the 30 s window, pass
`feature_extractor=WhisperFeatureExtractor.from_pretrained("THIS_FOLDER")`."""


class WhisperForm:
    """Folders of Whisper, as `HfForm` has them; every one comes with the modeling file."""

    def words(self, language: str) -> CardWords:
        """Of Whisper."""
        spoken = language or "found out from the sound"
        use = f"{_LANGUAGE.replace('LANGUAGE', spoken)}\n\n{WINDOW}"
        return CardWords("Whisper", ("whisper",), use, REASON, LICENSE)

    def check(self, model: PreTrainedModel) -> None:
        """Every shape is possible."""

    def code(self, source: HfSource) -> Path:
        """Always: the window is its own, too."""
        return REMOTE_FILE

    def tables(self, source: HfSource) -> Mapping[str, Mapping[str, Any]]:
        """Settings of the model, of its features, and of how it writes."""
        return {
            CONFIG_FILE: model_table(source),
            FEATURES_FILE: features_table(source.model),
            "generation_config.json": generation_table(
                source.model, source.tokens, source.language
            ),
        }

    def described(self, folder: Path) -> tuple[Any, Any]:
        """By this package's own copy of the modeling file."""
        return remote.WhisperForConditionalGeneration, checked(remote.WhisperSlimConfig, folder)


def checked(config_class: Any, folder: Path) -> Any:
    """The configuration of a folder. Raises `CheckpointError` for sizes that no Whisper has."""
    config = config_class(**read_configuration(folder))
    check_config(config, folder / CONFIG_FILE)
    return config


def features_table(model: nn.Module) -> dict[str, Any]:
    """`preprocessor_config.json`: in a fitted window."""
    spec, fit = WhisperFolder().input_spec(model), WindowPolicy()
    return {
        "feature_extractor_type": FEATURES_CLASS,
        "auto_map": {"AutoFeatureExtractor": f"{REMOTE_FILE.stem}.{FEATURES_CLASS}"},
        "processor_class": "WhisperProcessor",
        "feature_size": spec.bands,
        "sampling_rate": SAMPLE_RATE,
        "hop_length": HOP_LENGTH,
        "n_fft": N_FFT,
        "chunk_length": int(spec.max_seconds),
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "window": fit.kind,
        "margin_seconds": fit.margin_seconds,
        "step_seconds": fit.step_seconds,
        "shortest_seconds": MIN_WINDOW_SECONDS,
    }


def layer_lists(config: Any, groups: Sequence[UnitGroup]) -> dict[str, list[int]]:
    """List name -> units of each layer, 0 where a sub-layer is absent; and widths of heads."""
    counts = {group.key: group.count for group in groups}
    lists = {
        name: [
            counts.pop(f"{stack}.{layer}.{part}", 0)
            for layer in range(getattr(config, f"{stack}_layers"))
        ]
        for (stack, part), name in _LISTS.items()
    }
    widths = head_widths(config, groups, {k: v for k, v in _LISTS.items() if "heads" in v})
    if counts:  # a kind of unit that this table does not know would be lost silently
        raise ValueError(f"no list for the unit groups {sorted(counts)[:3]}")
    return lists | widths


def head_widths(
    config: Any, groups: Sequence[UnitGroup], lists: Mapping[tuple[str, str], str]
) -> dict[str, list[int]]:
    """List name -> dimensions of each layer's heads; none where all have the stock width.

    `lists` has the names of the lists of heads, as `_LISTS` does.
    """
    found = {group.key: group.width for group in groups if group.kind == "heads"}
    widths, stock = dict[str, list[int]](), dict[str, int]()
    for (stack, part), name in lists.items():
        stock[name] = config.d_model // getattr(config, f"{stack}_attention_heads")
        widths[f"{name}_width"] = [
            found.get(f"{stack}.{layer}.{part}", stock[name])
            for layer in range(getattr(config, f"{stack}_layers"))
        ]
    same = all(set(widths[f"{name}_width"]) == {width} for name, width in stock.items())
    return {} if same else widths


def model_table(source: HfSource) -> dict[str, Any]:
    """`config.json`."""
    config = as_whisper(source.model).config
    module = REMOTE_FILE.stem
    return config_table(
        source,
        "WhisperTokenizer",
        **layer_lists(config, source.groups),
        **ranks_table(source.model),
        model_type=MODEL_TYPE,
        architectures=[MODEL_CLASS],
        auto_map={
            "AutoConfig": f"{module}.{CONFIG_CLASS}",
            "AutoModelForSpeechSeq2Seq": f"{module}.{MODEL_CLASS}",
        },
        suppress_tokens=None,
        begin_suppress_tokens=list(suppression(source.model, source.tokens).at_start),
    )


def generation_table(model: nn.Module, tokens: Tokens, language: str) -> dict[str, Any]:
    """`generation_config.json`: greedy, in `language` unless that is empty."""
    whisper, codec = as_whisper(model), whisper_tokens(tokens)
    rules, vocabulary = suppression(model, tokens), codec.vocabulary()
    spoken = {f"<|{code}|>" for code in LANGUAGES}
    tasks = {name: vocabulary.get(f"<|{name}|>") for name in ("transcribe", "translate")}
    settings: Any = whisper.generation_config
    kept = {k: v for k, v in settings.to_diff_dict().items() if k not in _NOT_OURS}
    return {
        **kept,
        **({"language": language} if language else {}),
        "task": "transcribe",
        "is_multilingual": True,
        "lang_to_id": {token: vocabulary[token] for token in sorted(spoken & set(vocabulary))},
        "task_to_id": {name: number for name, number in tasks.items() if number is not None},
        "no_timestamps_token_id": codec.no_timestamps,
        "return_timestamps": False,
        "suppress_tokens": list(rules.always),
        "begin_suppress_tokens": list(rules.at_start),
        "decoder_start_token_id": codec.start,
        "eos_token_id": codec.end,
        "pad_token_id": whisper.config.pad_token_id,
        # The pipeline's own default would be a search with five beams.
        "num_beams": 1,
        "do_sample": False,
        "max_length": whisper.config.max_target_positions,
    }


def encode_as_stored(model: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Encoder states by the encoder's own forward pass, as others run it."""
    encoder: Any = model.get_submodule("model.encoder")
    states: torch.Tensor = encoder(features).last_hidden_state
    return states
