"""What a family does with sound and text: everything about it but its removable units."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import nn
from transformers import PreTrainedModel

from whisperslim.exported.ctc import Word
from whisperslim.exported.search import Search
from whisperslim.inputs import InputSpec


class Tokens(Protocol):
    """Text to the ids that a model writes, and back."""

    def encode(self, text: str) -> list[int]:
        """Ids of the text alone."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, without control tokens."""
        ...

    def check_language(self, language: str) -> None:
        """Raise `UsageError` for a language that cannot be written."""
        ...

    def vocabulary(self) -> Mapping[str, int]:
        """Every token and its id."""
        ...


@dataclass(frozen=True)
class StepOutputs:
    """What one student forward pass gives a method to work with.

    Attributes:
        cross_entropy: Negative log likelihood of the texts, mean over target tokens; scalar.
        logits: At the places that count, `(places, vocabulary)`: the target tokens of a decoder,
            the frames of a model without one.
        targets: Token ids of the texts, `(tokens,)`.
        left_out: Clips that are no part of the loss, because they are too short for their texts.
    """

    cross_entropy: torch.Tensor
    logits: torch.Tensor
    targets: torch.Tensor
    left_out: int = 0


@dataclass(frozen=True)
class PieceEvidence:
    """What a model says where a piece of text begins that is to get a token of its own.

    Attributes:
        states: `(places, width)`: what the output row of such a token will be multiplied with.
        logits: `(places,)`: what that product should be: the logit of the first token that the
            piece was written with, plus the log probabilities of the further ones.
        tokens: `(places,)`: which of the new tokens it is, by the number the caller gave it.
    """

    states: torch.Tensor
    logits: torch.Tensor
    tokens: torch.Tensor


@dataclass(frozen=True)
class Written:
    """What a model wrote for one clip.

    Attributes:
        ids: Text tokens, without control tokens.
        at_limit: Whether a bound on their number ended the text, and not the model.
        words: When each word was said, where the model reports it. What was written is the same
            whatever they are.
    """

    ids: tuple[int, ...]
    at_limit: bool = False
    words: tuple[Word, ...] = field(default=(), compare=False)


class Hearing(Protocol):
    """How models of one architecture are loaded, trained, and decoded.

    A model is a `PreTrainedModel` of transformers whose configuration has `model_type` and
    `vocab_size`: how many tokens it writes. What `targets` returns, only the family looks into.
    """

    @property
    def tied(self) -> Mapping[str, str]:
        """Parameter -> the parameter it is another name of, which alone is stored."""
        ...

    @property
    def older_names(self) -> Mapping[str, str]:
        """Tensor as some files name it -> as the model does."""
        ...

    @property
    def token_row(self) -> str:
        """Which row of a cost report has the tokens for its units; see `cost_row`."""
        ...

    def tokenizer_file(self, model: nn.Module) -> str:
        """The file of the model's folder that turns ids into text."""
        ...

    # Loading

    def skeleton(self, folder: Path, tokens: int | None = None) -> PreTrainedModel:
        """The architecture of a model folder before any cut, on the meta device.

        Args:
            folder: With `config.json`, and whatever else the family keeps beside weights.
            tokens: Stands in for the vocabulary size of the configuration.

        Raises:
            CheckpointError: for a missing or damaged file, or settings that are not supported.
        """
        ...

    def skeleton_of(self, model: nn.Module) -> PreTrainedModel:
        """The architecture of a model before any cut, with its present tokens, likewise."""
        ...

    def load_tokens(self, folder: Path) -> Tokens:
        """The tokenizer of a model folder. Raises `CheckpointError` when it cannot be used."""
        ...

    # Sound

    def input_spec(self, model: nn.Module) -> InputSpec:
        """What the model is given of a recording."""
        ...

    def encode(self, model: nn.Module, features: torch.Tensor) -> torch.Tensor:
        """Encoder states `(batch, positions, width)` of a batch of inputs, as `input_spec` says.

        The window has any even number of 10 ms frames up to `InputSpec.max_frames`.
        """
        ...

    def encoder(self, model: nn.Module) -> nn.Module:
        """The module that holds all that makes the encoder states."""
        ...

    # Training

    def text_limit(self, model: nn.Module, seconds: float) -> int | None:
        """The longest text to train on with so much sound, as `text_length` counts; None: any."""
        ...

    def text_length(self, tokens: Tokens, text: str, language: str) -> int:
        """What a text takes of `text_limit`. Raises `UsageError` for an unknown language."""
        ...

    def targets(
        self,
        model: nn.Module,
        tokens: Tokens,
        texts: Sequence[str],
        keys: Sequence[str],
        seconds: Sequence[float],
        language: str,
    ) -> Any:
        """What the clips of a batch are to become; `seconds` is the length of each one's audio.

        Raises:
            DataError: for a text over the limit, named by its key.
        """
        ...

    def target_tokens(self, targets: Any) -> int:
        """How many tokens the loss of these targets is a mean over, as `StepOutputs.targets`."""
        ...

    def outputs(
        self, model: nn.Module, states: torch.Tensor, targets: Any, smoothing: float = 0.0
    ) -> StepOutputs:
        """Logits and loss, with gradient, of encoder states; `smoothing` is of the labels."""
        ...

    def piece_evidence(
        self,
        model: nn.Module,
        tokens: Tokens,
        states: torch.Tensor,
        texts: Sequence[Sequence[tuple[int, tuple[int, ...]]]],
        language: str,
    ) -> PieceEvidence | None:
        """How the model writes texts that are cut into the pieces of another vocabulary.

        Without gradient. None for a model that does not write one token after another.

        Args:
            model: In evaluation mode.
            tokens: The model's own.
            states: Encoder states of the clips.
            texts: For each clip its pieces in order: a number of the caller's, and the model's ids
                that the piece is written with. Pieces of one id are no evidence.
            language: Of the texts.
        """
        ...

    def width(self, model: nn.Module) -> int:
        """Channels of the states that layers hand on."""
        ...

    def counted_states(self, stack: str, states: torch.Tensor, targets: Any) -> torch.Tensor:
        """Those of a layer's states that count, `(places, width)`, for learning from a teacher.

        `states` is what a layer of `stack` returned, `(batch, positions, width)`.
        """
        ...

    def attended_states(self, stack: str, states: torch.Tensor, targets: Any) -> torch.Tensor:
        """Those that later ones attend to, in the form of `counted_states`.

        A prompt is attended to, and much so, though nothing is learned at its places.
        """
        ...

    # Decoding

    def decode(
        self,
        model: nn.Module,
        tokens: Tokens,
        states: torch.Tensor,
        seconds: Sequence[float],
        language: str,
        on_first: Callable[[], None] = lambda: None,
    ) -> list[Written]:
        """Read text off encoder states, without gradient.

        Args:
            model: Whole or cut, in evaluation mode.
            tokens: Its tokenizer.
            states: `(batch, positions, width)`.
            seconds: Length of each clip's audio.
            language: Language code.
            on_first: Called once, when the first token of every clip is known.
        """
        ...

    def word_times(
        self,
        model: nn.Module,
        tokens: Tokens,
        states: torch.Tensor,
        ids: Sequence[int],
        seconds: float,
        language: str,
    ) -> tuple[Word, ...] | None:
        """When the words of a text were said, for models whose `Written.words` has none.

        None where the model does not tell. Arguments as of `decode`, for one clip; `ids` is its
        text.
        """
        ...

    def in_own_script(self) -> Self:
        """A family whose texts are held to the script of their language.

        Itself where it cannot do that; `describe_decoding` says which.
        """
        ...

    def searching(self, search: Search) -> Self:
        """A family that looks for the likeliest text. Raises `UsageError` where it cannot."""
        ...

    def describe_decoding(self) -> str:
        """How text is read off, for reports: figures depend on it."""
        ...

    def export_facts(self, model: nn.Module, tokens: Tokens, folder: Path) -> Mapping[str, Any]:
        """What whoever runs an export must know beside `input_spec`: plain values for JSON.

        Raises `ExportError` when model and tokenizer, both of `folder`, do not belong together.
        """
        ...

    def with_constant_output(self, model: nn.Module, tokens: Tokens) -> Any:
        """A copy that computes as much and writes one token over and over, up to its limit.

        For comparing times: all such copies of a model write equally much.
        """
        ...

    # Costs

    def training_pass(self, model: nn.Module, frames: int, tokens: int) -> None:
        """Run a skeleton on a window of `frames` and a text of `tokens`, to be counted."""
        ...

    def pass_in_use(self, model: nn.Module, frames: int, tokens: int) -> None:
        """Run a model as in use, without gradient, to be timed sub-layer by sub-layer."""
        ...

    def cost_row(self, model: nn.Module, name: str) -> str:
        """The row of a cost report for a module that no unit owns: `stack.kind`.

        The sinusoids and convolutions of an encoder, norms, the head.
        """
        ...
