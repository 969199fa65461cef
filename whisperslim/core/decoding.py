"""Greedy decoding with a key/value cache, for whole and for cut models alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import WhisperForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from whisperslim.core.families import family_of
from whisperslim.core.tokens.codec import TokenCodec

# Hindi costs about 5.2 tokens a word and fast speech has about 4 words a second. A loop that
# repeats a phrase has no end of its own, so the audio's length bounds it. Our choice.
TOKENS_PER_SECOND = 25.0
TOKENS_ALWAYS = 10


@dataclass(frozen=True)
class DecodingOptions:
    """How text is read off the model. `describe` goes beside every figure."""

    tokens_per_second: float = TOKENS_PER_SECOND
    tokens_always: int = TOKENS_ALWAYS

    def limit(self, seconds: float, positions: int, prompt: int) -> int:
        """Most tokens for `seconds` of audio, within the decoder's positions."""
        wanted = self.tokens_always + int(seconds * self.tokens_per_second)
        return min(wanted, positions - prompt)

    def describe(self) -> str:
        """For reports."""
        return (
            f"greedy, KV cache, at most {self.tokens_always} + "
            f"{self.tokens_per_second:g} tokens per second of audio"
        )


@dataclass(frozen=True)
class Suppression:
    """Token ids that are never written, and those that are not the first of a transcript."""

    always: tuple[int, ...]
    at_start: tuple[int, ...]


@torch.no_grad()
def greedy(
    model: WhisperForConditionalGeneration,
    tokens: TokenCodec,
    features: torch.Tensor,
    seconds: Sequence[float],
    language: str,
    options: DecodingOptions | None = None,
    on_first: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """Most likely token at each step, for a batch of clips in one window.

    Args:
        model: Whole or cut, in evaluation mode.
        tokens: Its tokenizer.
        features: Log-mel `(batch, n_mels, frames)`.
        seconds: Length of each clip's audio, which bounds its tokens.
        language: Language code for the prompt.
        options: Bounds; the defaults suit Hindi.
        on_first: Called once, when the first token of every clip is known.

    Returns:
        Text token ids of each clip, without prompt and end token.
    """
    states = family_of(model).encode(model, features)
    return greedy_from_states(model, tokens, states, seconds, language, options, on_first)


@torch.no_grad()
def greedy_from_states(
    model: WhisperForConditionalGeneration,
    tokens: TokenCodec,
    states: torch.Tensor,
    seconds: Sequence[float],
    language: str,
    options: DecodingOptions | None = None,
    on_first: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """`greedy` after the encoder: `states` is `(batch, positions, d_model)`."""
    options = options or DecodingOptions()
    prompt = tokens.prompt(language)
    positions = int(model.config.max_target_positions)
    limits = [options.limit(s, positions, len(prompt)) for s in seconds]
    rules = suppression(model, tokens)
    forbidden = _bias(model, rules.always, states)
    cache = _empty_cache()
    ids = torch.tensor([prompt] * len(limits), device=states.device)
    found: list[list[int]] = [[] for _ in limits]
    open_clips = set(range(len(limits)))
    for step in range(max(limits)):
        logits = _next_logits(model, ids, states, cache) + forbidden
        if step == 0:
            # As in Whisper: a transcript does not begin with its end, save for nothing to say,
            # which the no-speech check upstream deals with.
            logits = logits + _bias(model, rules.at_start, states)
        best = logits.argmax(-1).tolist()
        if step == 0:
            on_first()
        _collect(best, found, open_clips, limits, tokens.end)
        if not open_clips:
            break
        ids = torch.tensor(best, device=states.device)[:, None]
    return found


def _collect(
    best: list[int], found: list[list[int]], open_clips: set[int], limits: list[int], end: int
) -> None:
    for clip in list(open_clips):
        if best[clip] == end:
            open_clips.discard(clip)
            continue
        found[clip].append(best[clip])
        if len(found[clip]) >= limits[clip]:
            open_clips.discard(clip)


def _next_logits(
    model: WhisperForConditionalGeneration,
    ids: torch.Tensor,
    states: torch.Tensor,
    cache: EncoderDecoderCache,
) -> torch.Tensor:
    decoder: Any = model.model.decoder
    out = decoder(
        input_ids=ids, encoder_hidden_states=states, past_key_values=cache, use_cache=True
    )
    logits: torch.Tensor = model.proj_out(out.last_hidden_state[:, -1]).float()
    return logits


def _empty_cache() -> EncoderDecoderCache:
    # One layer record per decoder layer is made on first use, so ragged head counts are no matter.
    return EncoderDecoderCache(DynamicCache(), DynamicCache())


def suppression(model: WhisperForConditionalGeneration, tokens: TokenCodec) -> Suppression:
    """Every control token but the end, and the lists of the model's generation settings."""
    settings: Any = model.generation_config
    control = range(tokens.end + 1, model.config.vocab_size)
    always = {*control, *(settings.suppress_tokens or ())} - {tokens.end}
    at_start = settings.begin_suppress_tokens or (tokens.end,)
    return Suppression(tuple(sorted(always)), tuple(sorted(at_start)))


def _bias(
    model: WhisperForConditionalGeneration, forbidden: Sequence[int], like: torch.Tensor
) -> torch.Tensor:
    """Minus infinity for `forbidden`, zero for the rest."""
    bias = torch.zeros(model.config.vocab_size, device=like.device)
    bias[list(forbidden)] = -torch.inf
    return bias
