"""A decoder that attends to encoder states and writes one token after another.

Training is one teacher-forced pass, decoding is greedy with a key/value cache, for whole and for
cut models alike. An architecture says where its decoder is; see the abstract members.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, cast

import torch
from torch import nn
from torch.nn import functional as F
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from whisperslim.core.families.hearing import PieceEvidence, StepOutputs, Tokens, Written
from whisperslim.errors import DataError, UsageError
from whisperslim.exported.bounds import DecodingOptions
from whisperslim.exported.ctc import Word
from whisperslim.exported.own_script import ScriptMask, mask_for
from whisperslim.exported.search import Search
from whisperslim.exported.word_times import timed_words, token_starts

# Decoder inputs are padded to a multiple of this many tokens, as matrix kernels are made, and kept
# in memory, for every length that occurs. The padding is never counted. Our choice.
_LENGTH_STEP = 16


class PromptedTokens(Tokens, Protocol):
    """Tokens whose texts begin with a prompt and close with an end token."""

    @property
    def end(self) -> int:
        """Id of the end token."""
        ...

    def prompt(self, language: str) -> list[int]:
        """Ids before the text. Raises `UsageError` for an unknown language."""
        ...


@dataclass(frozen=True)
class Suppression:
    """Token ids that are never written, and those that are not the first of a transcript."""

    always: tuple[int, ...]
    at_start: tuple[int, ...]


@dataclass(frozen=True)
class Targets:
    """Decoder inputs and what they should predict.

    Attributes:
        inputs: `(batch, length)`; padded with the end token to one of few lengths.
        wanted: `(batch, length)`; the next token at each position.
        counted: `(batch, length)` bool; true where the next token is text or the end.
    """

    inputs: torch.Tensor
    wanted: torch.Tensor
    counted: torch.Tensor


def make_targets(
    tokens: PromptedTokens, texts: Sequence[str], keys: Sequence[str], language: str, positions: int
) -> Targets:
    """Prompt + text + end for each clip; the prompt itself is not learned.

    Raises:
        DataError: for a text longer than the decoder's positions.
    """
    prompt = tokens.prompt(language)
    rows = [[*prompt, *tokens.encode(text), tokens.end] for text in texts]
    for key, row in zip(keys, rows, strict=True):
        if len(row) > positions + 1:
            raise DataError(
                f"clip {key}: its text takes {len(row)} tokens and the model has {positions} "
                "positions; cut the clip into sentences, or leave it out, and start a new run"
            )
    longest = max(len(row) for row in rows)
    # Never beyond the model's positions, but always room for the longest.
    width = min(-(-(longest - 1) // _LENGTH_STEP) * _LENGTH_STEP, positions) + 1
    padded = torch.tensor([row + [tokens.end] * (width - len(row)) for row in rows])
    place = torch.arange(width - 1)
    ends = torch.tensor([len(row) for row in rows])[:, None] - 1
    counted = (place >= len(prompt) - 1) & (place < ends)
    return Targets(padded[:, :-1], padded[:, 1:], counted)


class AttentionDecoder(ABC):
    """The part of a family that trains and decodes, for architectures of this flavour.

    Attributes:
        decoding: What bounds a transcript.
    """

    def __init__(self, decoding: DecodingOptions | None = None) -> None:
        self.decoding = decoding or DecodingOptions()

    @abstractmethod
    def encode(self, model: nn.Module, features: torch.Tensor) -> torch.Tensor:
        """Encoder states of a window."""

    @abstractmethod
    def no_sound(self, model: nn.Module, frames: int) -> torch.Tensor:
        """Zeros in the shape of one clip's input, on the model's device."""

    @abstractmethod
    def run_decoder(
        self, model: nn.Module, ids: torch.Tensor, states: torch.Tensor, **options: Any
    ) -> torch.Tensor:
        """States `(batch, length, width)` of the tokens `ids`, `(batch, length)`.

        `options` are transformers': `use_cache`, and `past_key_values` or `attention_mask`.
        """

    @abstractmethod
    def project(self, model: nn.Module, states: torch.Tensor) -> torch.Tensor:
        """Logits `(..., vocabulary)` of decoder states."""

    @abstractmethod
    def positions(self, model: nn.Module) -> int:
        """Most tokens the decoder has positions for, the prompt among them."""

    @abstractmethod
    def suppression(self, model: nn.Module, tokens: Tokens) -> Suppression:
        """What is never written."""

    def attention(
        self, model: nn.Module, ids: torch.Tensor, states: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Of one pass: states of the tokens `ids`, and how heads that follow the sound attend.

        `(1, length, width)` and `(heads, length, positions)` of one clip. None where it is not
        known which heads these are.
        """
        return None

    @torch.no_grad()
    def word_times(
        self,
        model: nn.Module,
        tokens: Tokens,
        states: torch.Tensor,
        ids: Sequence[int],
        seconds: float,
        language: str,
    ) -> tuple[Word, ...] | None:
        """As `Hearing.word_times`, from one more pass over the whole text."""
        prompted = cast(PromptedTokens, tokens)
        prompt = prompted.prompt(language)
        row = torch.tensor([[*prompt, *ids]], device=states.device)
        found = self.attention(model, row, states)
        if found is None:
            return None
        hidden, weights = found
        # The state at one place predicts the token at the next.
        writing = slice(len(prompt) - 1, None)
        logits = self.project(model, hidden[0, writing]).float()
        logits[:, list(self.suppression(model, tokens).always)] = -torch.inf
        wanted = torch.tensor([*ids, prompted.end], device=states.device)
        chances = logits.softmax(-1).gather(-1, wanted[:, None])[:, 0].tolist()
        starts = token_starts(weights[:, writing].float().cpu().numpy(), seconds)
        spelled = {number: token for token, number in tokens.vocabulary().items()}
        return timed_words(ids, starts, chances, lambda i: spelled[i], tokens.decode)

    def text_limit(self, model: nn.Module, seconds: float) -> int | None:
        """The decoder's positions, however long the sound."""
        return self.positions(model)

    def text_length(self, tokens: Tokens, text: str, language: str) -> int:
        """Positions of the prompt and the text. The end token is predicted and never read."""
        return len(cast(PromptedTokens, tokens).prompt(language)) + len(tokens.encode(text))

    def targets(
        self,
        model: nn.Module,
        tokens: Tokens,
        texts: Sequence[str],
        keys: Sequence[str],
        seconds: Sequence[float],
        language: str,
    ) -> Targets:
        """As `make_targets`; the length of the audio does not matter."""
        prompted = cast(PromptedTokens, tokens)
        return make_targets(prompted, texts, keys, language, self.positions(model))

    def target_tokens(self, targets: Targets) -> int:
        """The counted places."""
        return int(targets.counted.sum())

    def outputs(
        self, model: nn.Module, states: torch.Tensor, targets: Targets, smoothing: float = 0.0
    ) -> StepOutputs:
        """Logits and cross entropy at the counted positions only: padding costs no projection."""
        device = states.device
        hidden = self.run_decoder(model, targets.inputs.to(device), states, use_cache=False)
        counted = targets.counted.to(device)
        logits = self.project(model, hidden[counted]).float()
        wanted = targets.wanted.to(device)[counted]
        loss = F.cross_entropy(logits, wanted, label_smoothing=smoothing)
        return StepOutputs(loss, logits, wanted)

    @torch.no_grad()
    def piece_evidence(
        self,
        model: nn.Module,
        tokens: Tokens,
        states: torch.Tensor,
        texts: Sequence[Sequence[tuple[int, tuple[int, ...]]]],
        language: str,
    ) -> PieceEvidence:
        """One teacher-forced pass over the pieces, written out as the model's own ids."""
        prompted = cast(PromptedTokens, tokens)
        prompt = prompted.prompt(language)
        rows = [[*prompt, *(i for _, ids in text for i in ids), prompted.end] for text in texts]
        longest = max(len(row) for row in rows)
        inputs = torch.tensor([row + [prompted.end] * (longest - len(row)) for row in rows])
        hidden = self.run_decoder(model, inputs[:, :-1].to(states.device), states, use_cache=False)
        found: list[tuple[torch.Tensor, torch.Tensor, int]] = []
        for own, row, text in zip(hidden, rows, texts, strict=True):
            logits = self.project(model, own[: len(row) - 1]).float()
            said = logits.log_softmax(-1)
            # The state at one place predicts the id at the next.
            place = len(prompt) - 1
            for token, ids in text:
                if len(ids) > 1:
                    further = sum(said[place + n, ids[n]] for n in range(1, len(ids)))
                    found.append((own[place].float(), logits[place, ids[0]] + further, token))
                place += len(ids)
        if not found:
            nothing = states.new_zeros(0)
            return PieceEvidence(states.new_zeros(0, hidden.shape[-1]), nothing, nothing.long())
        places, wanted, which = zip(*found, strict=True)
        return PieceEvidence(torch.stack(places), torch.stack(wanted), torch.tensor(which))

    def counted_states(self, stack: str, states: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Every frame of the encoder, and the target tokens' places of the decoder."""
        if stack == "decoder":
            return states[targets.counted.to(states.device)]
        return states.flatten(0, 1)

    def attended_states(self, stack: str, states: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Every frame of the encoder; of the decoder the prompt's places, too."""
        if stack == "decoder":
            behind = targets.counted.flip(1).cumsum(1).flip(1) > 0
            return states[behind.to(states.device)]
        return states.flatten(0, 1)

    @torch.no_grad()
    def decode(
        self,
        model: nn.Module,
        tokens: Tokens,
        states: torch.Tensor,
        seconds: Sequence[float],
        language: str,
        on_first: Callable[[], None] = lambda: None,
    ) -> list[Written]:
        """The most likely token at each step, for every clip of a batch."""
        prompted = cast(PromptedTokens, tokens)
        prompt, positions = prompted.prompt(language), self.positions(model)
        limits = [self.decoding.limit(s, positions, len(prompt)) for s in seconds]
        rules = self.suppression(model, tokens)
        never = torch.tensor(rules.always, dtype=torch.long, device=states.device)
        # One layer record per decoder layer is made on first use: ragged head counts do not matter.
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        ids = torch.tensor([prompt] * len(limits), device=states.device)
        script: _HeldToScript | None = None
        found: list[list[int]] = [[] for _ in limits]
        open_clips = set(range(len(limits)))
        for step in range(max(limits)):
            hidden = self.run_decoder(model, ids, states, past_key_values=cache, use_cache=True)
            logits = self.project(model, hidden[:, -1]).float()
            logits[:, never] = -torch.inf
            if step == 0 and self.decoding.own_script:
                script = _held_to_script(prompted, logits, language)
            if script is not None:
                logits = script.masked(logits)
            if step == 0:
                # As in Whisper: a transcript does not begin with its end. Recordings without speech
                # are dealt with upstream.
                logits[:, list(rules.at_start)] = -torch.inf
            best = logits.argmax(-1).tolist()
            if step == 0:
                on_first()
            if script is not None:
                script.go_on(best)
            _collect(best, found, open_clips, limits, prompted.end)
            if not open_clips:
                break
            ids = torch.tensor(best, device=states.device)[:, None]
        rows = zip(found, limits, strict=True)
        return [Written(tuple(row), len(row) >= limit) for row, limit in rows]

    def in_own_script(self) -> Self:
        """The same, with texts held to the script of their language."""
        held = copy.copy(self)
        held.decoding = replace(self.decoding, own_script=True)
        return held

    def searching(self, search: Search) -> Self:
        """Raises `UsageError`: a decoder writes token after token, and no frames are scored."""
        raise UsageError(
            "a model with a decoder searches no beam here: it is for models that score frames "
            "(CTC); leave --beam out"
        )

    def describe_decoding(self) -> str:
        """As the options do."""
        return self.decoding.describe()

    def training_pass(self, model: nn.Module, frames: int, tokens: int) -> None:
        """One teacher-forced pass, on the meta device."""
        states = self.encode(model, self.no_sound(model, frames))
        # With a ready mask transformers has no values to look at, which meta tensors lack.
        mask = torch.zeros(1, 1, tokens, tokens, device="meta")
        ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
        hidden = self.run_decoder(model, ids, states, attention_mask=mask, use_cache=False)
        self.project(model, hidden)

    def pass_in_use(self, model: nn.Module, frames: int, tokens: int) -> None:
        """The encoder once and the decoder token by token; without the output projection."""
        states = self.encode(model, self.no_sound(model, frames))
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        ids = torch.zeros(1, 1, dtype=torch.long, device=states.device)
        for _ in range(min(tokens, self.positions(model))):
            self.run_decoder(model, ids, states, past_key_values=cache, use_cache=True)


class _HeldToScript:
    """The states of a batch's texts in a `ScriptMask`."""

    def __init__(self, mask: ScriptMask, clips: int, device: torch.device) -> None:
        self._bias = torch.from_numpy(mask.bias).to(device)
        self._mask = mask
        self._states = [0] * clips

    def masked(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits `(clips, vocabulary)` without what would leave the script."""
        return logits + self._bias[self._states]

    def go_on(self, written: list[int]) -> None:
        """One more token for each clip. Those that have ended stay between two characters."""
        self._states = [
            max(0, self._mask.step(state, token))
            for state, token in zip(self._states, written, strict=True)
        ]


def _held_to_script(
    tokens: PromptedTokens, logits: torch.Tensor, language: str
) -> _HeldToScript | None:
    mask = mask_for(tokens, tokens.vocabulary(), tokens.end, logits.shape[-1], language)
    return None if mask is None else _HeldToScript(mask, len(logits), logits.device)


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
