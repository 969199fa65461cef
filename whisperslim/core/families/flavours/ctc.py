"""A linear head that scores every frame, trained with CTC and read off greedily: no decoder.

CTC as Graves et al., ICML 2006: the loss is the negative log likelihood of all ways to spell a text
over the frames, a blank between two equal tokens being needed. An architecture says where its
encoder and its head are; see the abstract members.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar, cast

import torch
from torch import nn
from torch.nn import functional as F

from whisperslim.core.families.hearing import PieceEvidence, StepOutputs, Tokens, Written
from whisperslim.exported.ctc import DECODING, CTCRules, FrameTiming, FrameTokens, read_path
from whisperslim.exported.search import Search, searched_path

Model = TypeVar("Model", bound=nn.Module)


class BlankTokens(Tokens, FrameTokens, Protocol):
    """Tokens with a blank among them."""


@dataclass(frozen=True)
class Targets:
    """What the clips of a batch are to be spelled as.

    Attributes:
        ids: Of each clip.
        states: Encoder positions that hear each clip; padding follows them.
        frames: Frames that the head scores of each clip.
        blank: Id of the blank.
    """

    ids: tuple[tuple[int, ...], ...]
    states: tuple[int, ...]
    frames: tuple[int, ...]
    blank: int

    @property
    def fits(self) -> tuple[bool, ...]:
        """Of each clip, whether its frames suffice for its text; otherwise its loss is infinite."""
        pairs = zip(self.ids, self.frames, strict=True)
        return tuple(frames_needed(ids) <= frames for ids, frames in pairs)


def frames_needed(tokens: Sequence[int | str]) -> int:
    """Frames that tokens take at least: one each, and a blank between equal ones."""
    return len(tokens) + sum(first == second for first, second in pairwise(tokens))


class CTC(ABC):
    """The part of a family that trains and decodes, for architectures of this flavour.

    Attributes:
        search: How text is looked for; None: along the greedy path.
    """

    search: Search | None = None

    @abstractmethod
    def encode(self, model: nn.Module, features: torch.Tensor) -> torch.Tensor:
        """Encoder states of a window."""

    @abstractmethod
    def no_sound(self, model: nn.Module, frames: int) -> torch.Tensor:
        """Zeros in the shape of one clip's input, on the model's device."""

    @abstractmethod
    def head(self, model: nn.Module) -> nn.Linear | nn.Conv1d:
        """What scores the frames; of a convolution, every filter is one position wide."""

    @abstractmethod
    def project(self, model: nn.Module, states: torch.Tensor) -> torch.Tensor:
        """Logits `(batch, frames, vocabulary)` of encoder states."""

    @abstractmethod
    def timing(self, model: nn.Module) -> FrameTiming:
        """Which frames belong to a clip."""

    def text_limit(self, model: nn.Module, seconds: float) -> int | None:
        """The frames of the clip."""
        return self.timing(model).frames(seconds)

    def text_length(self, tokens: Tokens, text: str, language: str) -> int:
        """The frames that a text takes at least."""
        tokens.check_language(language)
        return frames_needed(tokens.encode(text))

    def targets(
        self,
        model: nn.Module,
        tokens: Tokens,
        texts: Sequence[str],
        keys: Sequence[str],
        seconds: Sequence[float],
        language: str,
    ) -> Targets:
        """The texts' ids. Raises `UsageError` for a language that the tokens cannot write."""
        tokens.check_language(language)
        timing = self.timing(model)
        return Targets(
            tuple(tuple(tokens.encode(text)) for text in texts),
            tuple(timing.positions(length) for length in seconds),
            tuple(timing.frames(length) for length in seconds),
            cast(BlankTokens, tokens).blank,
        )

    def target_tokens(self, targets: Targets) -> int:
        """The ids of the clips that are long enough."""
        pairs = zip(targets.ids, targets.fits, strict=True)
        return sum(len(ids) for ids, fits in pairs if fits)

    def outputs(
        self, model: nn.Module, states: torch.Tensor, targets: Targets, smoothing: float = 0.0
    ) -> StepOutputs:
        """Logits of the frames that hear something, and the loss, mean over tokens.

        Clips too short for their texts are left out of the loss and counted: theirs is infinite.
        Smoothing is our choice: that share of the loss is the cross entropy of every frame with all
        tokens alike.
        """
        logits = self.project(model, states).float()
        fits = targets.fits
        ids = [ids if fit else () for ids, fit in zip(targets.ids, fits, strict=True)]
        wanted = torch.tensor([i for row in ids for i in row], dtype=torch.long).to(logits.device)
        heard = _heard(logits, targets.frames)
        # In float32, under autocast as well: sums over thousands of paths.
        with torch.autocast(logits.device.type, enabled=False):
            scores = logits.log_softmax(-1)
            losses = F.ctc_loss(
                scores.transpose(0, 1), wanted, torch.tensor(targets.frames),
                torch.tensor([len(row) for row in ids]),
                blank=targets.blank, reduction="none",
            )  # fmt: skip
            counted = torch.tensor(fits).to(logits.device)
            loss = losses.where(counted, torch.zeros_like(losses)).sum() / max(1, len(wanted))
            if smoothing:
                even = -_heard(scores, targets.frames).mean()
                loss = (1 - smoothing) * loss + smoothing * even
        return StepOutputs(loss, heard, wanted, left_out=len(fits) - sum(fits))

    def piece_evidence(
        self,
        model: nn.Module,
        tokens: Tokens,
        states: torch.Tensor,
        texts: Sequence[Sequence[tuple[int, tuple[int, ...]]]],
        language: str,
    ) -> PieceEvidence | None:
        """None: tokens are not written one after another."""
        return None

    def counted_states(self, stack: str, states: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Every position that hears something."""
        return _heard(states, targets.states)

    def attended_states(self, stack: str, states: torch.Tensor, targets: Targets) -> torch.Tensor:
        """The same."""
        return self.counted_states(stack, states, targets)

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
        """The greedy path of every clip, collapsed, or what `search` finds."""
        logits, timing = self.project(model, states).float(), self.timing(model)
        known = cast(BlankTokens, tokens)
        if self.search is not None:
            on_first()
            found = [
                searched_path(row.cpu().numpy(), known, timing, length, self.search)
                for row, length in zip(logits, seconds, strict=True)
            ]
            return [Written(path.ids, words=path.words) for path in found]
        chances, best = logits.softmax(-1).max(-1)
        rows = zip(best.tolist(), chances.tolist(), seconds, strict=True)
        on_first()
        paths = [read_path(path, sure, known, timing, length) for path, sure, length in rows]
        return [Written(path.ids, words=path.words) for path in paths]

    def word_times(
        self,
        model: nn.Module,
        tokens: Tokens,
        states: torch.Tensor,
        ids: Sequence[int],
        seconds: float,
        language: str,
    ) -> None:
        """None: words come with the text, in `Written.words`."""
        return None

    def in_own_script(self) -> Self:
        """Itself: it writes the letters it was made with."""
        return self

    def searching(self, search: Search) -> Self:
        """The same family, which looks for the likeliest text."""
        found = copy(self)
        found.search = search
        return found

    def describe_decoding(self) -> str:
        """Greedy, or as its search says."""
        return self.search.describe() if self.search else DECODING

    def export_facts(self, model: nn.Module, tokens: Tokens, folder: Path) -> Mapping[str, Any]:
        """As `CTCRules` has it."""
        timing = self.timing(model)
        rules = CTCRules(cast(BlankTokens, tokens).blank, timing.stride, timing.lead, timing.pool)
        return asdict(rules)

    @torch.no_grad()
    def with_constant_output(self, model: Model, tokens: Tokens) -> Model:
        """The head scores one token highest in every frame, which makes it one token a clip."""
        copy = deepcopy(model)
        head, blank = self.head(copy), cast(BlankTokens, tokens).blank
        if head.bias is None:
            raise ValueError("the head has no bias to write one token with")
        head.weight.zero_()
        head.bias.zero_()[0 if blank else 1] = 1.0
        return copy

    def freeze(self, model: nn.Module, *, encoder: bool, embeddings: bool) -> None:
        """Stop the encoder's gradient. The head is always learned: there are no embeddings."""
        if encoder:
            self.encoder(model).requires_grad_(False)

    @abstractmethod
    def encoder(self, model: nn.Module) -> nn.Module:
        """The module that holds all that makes the encoder states."""

    def training_pass(self, model: nn.Module, frames: int, tokens: int) -> None:
        """One pass; the number of tokens does not matter."""
        self.project(model, self.encode(model, self.no_sound(model, frames)))

    def pass_in_use(self, model: nn.Module, frames: int, tokens: int) -> None:
        """The same pass."""
        self.training_pass(model, frames, tokens)


def _heard(values: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """Of `(batch, positions, ...)` those within the clips, `(places, ...)`."""
    return torch.cat([row[:length] for row, length in zip(values, lengths, strict=True)])
