"""Whisper's encoder and one linear layer: real weights, open text, and no decoding loop."""

from typing import Any

import torch
from torch import nn
from transformers import WhisperConfig
from transformers.modeling_outputs import CausalLMOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder, WhisperPreTrainedModel

LETTERS, PIECES = "letters", "tokens"


class WhisperCTCConfig(WhisperConfig):
    """A Whisper's configuration, of which the encoder's part counts, and the head's.

    Attributes:
        vocab_size: Tokens that the head scores, the blank among them.
        pad_token_id: Id of the blank.
        pool: Encoder positions, of 20 ms each, that are averaged before the head: 1 or 2.
        writes: What the tokens are: `letters`, or `tokens` of Whisper's own vocabulary.
    """

    model_type = "whisper_ctc"

    pool: int = 1
    writes: str = LETTERS


class WhisperBody(nn.Module):
    """Holds the encoder under the name that it has in Whisper."""

    def __init__(self, config: WhisperCTCConfig) -> None:
        super().__init__()
        self.encoder = WhisperEncoder(config)


class WhisperForCTC(WhisperPreTrainedModel):
    """The encoder as in Whisper, whole or cut, and `head`."""

    config_class = WhisperCTCConfig

    def __init__(self, config: WhisperCTCConfig) -> None:
        super().__init__(config)
        self.model = WhisperBody(config)
        self.head = nn.Linear(config.d_model, config.vocab_size)
        self.post_init()

    def forward(self, input_features: torch.Tensor, **_: Any) -> CausalLMOutput:
        """Logits of log-mel features in Whisper's own window of 30 s."""
        states = self.model.encoder(input_features).last_hidden_state
        return CausalLMOutput(logits=self.head(pooled(states, self.config.pool)))


def pooled(states: torch.Tensor, pool: int) -> torch.Tensor:
    """Means of `pool` neighbors, `(batch, positions // pool, width)`.

    Positions left over at the end, in the silence behind the sound, are dropped.
    """
    if pool == 1:
        return states
    whole = states.shape[1] // pool
    return states[:, : whole * pool].unflatten(1, (whole, pool)).mean(2)
