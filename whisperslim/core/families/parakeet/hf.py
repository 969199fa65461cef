"""Parakeet as a Hugging Face folder."""

import json
from collections.abc import Mapping
from typing import Any, cast

from transformers import PreTrainedModel

from whisperslim.core.families.hf_remote import modeling_ctc_slim as remote
from whisperslim.core.families.hf_remote.form import HfSource
from whisperslim.core.families.parakeet.model import PROCESSOR, ParakeetFamily
from whisperslim.core.families.wav2vec2.hf import LayerForm
from whisperslim.core.tokens.pieces import PieceTokens

_TOKENIZER_FILE = "tokenizer_config.json"


class ParakeetForm(LayerForm):
    """As of the other layers; features and tokenizer are its own."""

    tokenizer_class = "ParakeetTokenizer"

    def features(self, model: PreTrainedModel) -> dict[str, Any]:
        """Log-mel features, as its processor makes them."""
        config: Any = model.config
        return {
            **PROCESSOR,
            "feature_extractor_type": "ParakeetFeatureExtractor",
            "processor_class": "ParakeetProcessor",
            "feature_size": config.encoder_config.num_mel_bins,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": True,
        }

    def tables(self, source: HfSource) -> Mapping[str, Mapping[str, Any]]:
        """Also which class reads the tokenizer, and which piece is the blank."""
        file, tokens = source.folder / _TOKENIZER_FILE, cast(PieceTokens, source.tokens)
        stated = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        blank = tokens.table.spelling.token(tokens.blank)
        own = {"tokenizer_class": self.tokenizer_class, "pad_token": blank}
        return {**super().tables(source), _TOKENIZER_FILE: {**stated, **own}}


PARAKEET = ParakeetForm(ParakeetFamily(), "Parakeet", "parakeet", remote.ParakeetSlimForCTC)
