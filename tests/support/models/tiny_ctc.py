"""Tiny random models with a CTC head that hear samples, and one on Whisper's encoder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    HubertConfig,
    HubertForCTC,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerForCTC,
    Wav2Vec2ForCTC,
)

from tests.support.tiny import tiny_model_folder
from whisperslim.core.heads.ctc import save_with_ctc_head
from whisperslim.core.heads.options import HeadOptions
from whisperslim.core.loading import load_model
from whisperslim.core.tokens.letters import write_letters
from whisperslim.speech.corpus.dataset import load_items

D, HEADS, FFN, LAYERS, KERNEL = 16, 4, 24, 2, 3
SMALL: dict[str, Any] = {
    "hidden_size": D, "num_attention_heads": HEADS, "intermediate_size": FFN,
    "num_hidden_layers": LAYERS, "conv_dim": (8, 8, 8), "conv_kernel": (10, 8, 4),
    "conv_stride": (5, 8, 8), "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 3, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
STRIDE, FIELD = 5 * 8 * 8, 1 + 9 + 7 * 5 + 3 * 40
PRE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
CONFORMER = {"conv_depthwise_kernel_size": KERNEL}


@dataclass(frozen=True)
class Kind:
    """A model class, and what its configuration has besides the sizes."""

    config: Any
    model: Any
    own: dict[str, Any]


KINDS = {
    "wav2vec2 post-norm": Kind(Wav2Vec2Config, Wav2Vec2ForCTC, {}),
    "wav2vec2 pre-norm": Kind(Wav2Vec2Config, Wav2Vec2ForCTC, PRE),
    "hubert post-norm": Kind(HubertConfig, HubertForCTC, {"feat_proj_layer_norm": False}),
    "hubert pre-norm": Kind(HubertConfig, HubertForCTC, PRE),
    "hubert batch norm": Kind(HubertConfig, HubertForCTC, {"conv_pos_batch_norm": True}),
    "conformer relative": Kind(
        Wav2Vec2ConformerConfig, Wav2Vec2ConformerForCTC, {**CONFORMER, **PRE}
    ),
    "conformer rotary": Kind(
        Wav2Vec2ConformerConfig,
        Wav2Vec2ConformerForCTC,
        {**CONFORMER, "position_embeddings_type": "rotary"},
    ),
}


def samples_folder(folder: Path, kind: Kind, corpus: Path) -> None:
    """A model folder with random weights, statistics of its norms among them."""
    folder.mkdir()
    tokens = write_letters(folder, [item.text for item in load_items(str(corpus))], "hi")
    torch.manual_seed(3)
    model = kind.model(kind.config(**SMALL, **kind.own, vocab_size=len(tokens.vocabulary())))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for key, buffer in model.named_buffers():
            if key.endswith("running_mean"):
                buffer.normal_(0.0, 0.3)
            if key.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
    model.config.to_json_file(folder / "config.json", use_diff=False)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()},
              folder / "model.safetensors")  # fmt: skip
    facts = {"sampling_rate": 16000, "feature_size": 1, "do_normalize": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts), "utf-8")


def headed_folder(folder: Path, corpus: Path) -> None:
    """A tiny Whisper's encoder with a CTC head over the letters of a corpus."""
    whisper = load_model(str(tiny_model_folder(folder.parent / f"{folder.name}-whisper")))
    torch.manual_seed(1)
    texts = [item.text for item in load_items(str(corpus))]
    save_with_ctc_head(folder, whisper, HeadOptions(kind="ctc"), texts, "hi")
