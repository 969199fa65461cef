"""Tiny random models with a CTC head that hear samples, and one on Whisper's encoder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    HubertConfig,
    HubertForCTC,
    ParakeetCTCConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerForCTC,
    Wav2Vec2ForCTC,
)

from tests.support.tiny import tiny_model_folder
from tests.support.tiny_job import supply
from whisperslim.core.heads.ctc import save_with_ctc_head
from whisperslim.core.heads.options import HeadOptions
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.tokens.letters import write_letters
from whisperslim.speech.corpus.batching import Batch
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
    "conformer without positions": Kind(
        Wav2Vec2ConformerConfig,
        Wav2Vec2ConformerForCTC,
        {**CONFORMER, **PRE, "position_embeddings_type": None},
    ),
}


def samples_folder(folder: Path, kind: Kind, corpus: Path) -> None:
    """A model folder with random weights, statistics of its norms among them."""
    folder.mkdir()
    tokens = write_letters(folder, [item.text for item in load_items(str(corpus))], "hi")
    torch.manual_seed(3)
    sizes = {**SMALL, **kind.own, "vocab_size": len(tokens.vocabulary())}
    model = kind.model(kind.config(**sizes))
    _stir(model)
    model.config.to_json_file(folder / "config.json", use_diff=False)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()},
              folder / "model.safetensors")  # fmt: skip
    facts = {"sampling_rate": 16000, "feature_size": 1, "do_normalize": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts), "utf-8")


FACTOR, BANDS, CHANNELS = 4, 16, 6
PARAKEET: dict[str, Any] = {
    "hidden_size": D, "num_attention_heads": HEADS, "intermediate_size": FFN,
    "num_hidden_layers": LAYERS, "conv_kernel_size": KERNEL, "subsampling_factor": FACTOR,
    "subsampling_conv_channels": CHANNELS, "num_mel_bins": BANDS,
}  # fmt: skip


def parakeet_folder(folder: Path, corpus: Path, **encoder: Any) -> None:
    """A tiny Parakeet with random weights, and its tokenizer: pieces of the words of a corpus."""
    folder.mkdir()
    texts = [item.text for item in load_items(str(corpus))]
    blank = _write_pieces(folder, texts)
    torch.manual_seed(3)
    model = ParakeetForCTC(
        ParakeetCTCConfig(
            vocab_size=blank + 1, pad_token_id=blank, encoder_config={**PARAKEET, **encoder}
        )
    )
    _stir(model)
    model.config.to_json_file(folder / "config.json", use_diff=False)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()},
              folder / "model.safetensors")  # fmt: skip
    ParakeetFeatureExtractor(feature_size=BANDS).save_pretrained(folder)


def _write_pieces(folder: Path, texts: list[str]) -> int:
    """A tokenizer as transformers makes one of SentencePiece's; returns the id of the blank."""
    tokenizer = Tokenizer(BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = BpeTrainer(vocab_size=80, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    blank = int(tokenizer.get_vocab_size())
    tokenizer.add_special_tokens([AddedToken("<pad>", normalized=False, special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return blank


def _stir(model: torch.nn.Module) -> None:
    """Random everywhere, statistics of norms among it, so that nothing is lost unseen."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for key, buffer in model.named_buffers():
            if key.endswith("running_mean"):
                buffer.normal_(0.0, 0.3)
            if key.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)


def one_batch(folder: Path, speech: SpeechModel) -> Batch:
    """Some clips of `corpus` in a folder, as this model is given them."""
    with supply(folder, speech.input_spec) as batches:
        return batches.draw()


def headed_folder(folder: Path, corpus: Path) -> None:
    """A tiny Whisper's encoder with a CTC head over the letters of a corpus."""
    whisper = load_model(str(tiny_model_folder(folder.parent / f"{folder.name}-whisper")))
    torch.manual_seed(1)
    texts = [item.text for item in load_items(str(corpus))]
    save_with_ctc_head(folder, whisper, HeadOptions(kind="ctc"), texts, "hi")
