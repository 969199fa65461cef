"""A family for tests, of the other flavour: samples in, letters out, CTC in place of a decoder.

CTC as Graves et al. 2006: the loss is the negative log likelihood of all ways to spell the text
over the frames, and greedy decoding drops repeats and blanks.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig, PreTrainedModel

from tests.support.tiny import WORDS
from whisperslim.core.families import Slice, UnitSite
from whisperslim.core.families.hearing import StepOutputs, Written
from whisperslim.errors import CheckpointError
from whisperslim.inputs import InputSpec

STRIDE = 320  # samples between positions: 20 ms
WIDTH, INNER, LAYERS = 16, 24, 3
HEARD_SECONDS = 20  # at once; our choice
LETTERS = sorted({*"".join(WORDS), *"0123456789", " "})
BLANK = 0
VOCABULARY = {"<blank>": BLANK, **{letter: place for place, letter in enumerate(LETTERS, 1)}}


class ToyConfig(PreTrainedConfig):
    model_type = "toy_ctc"
    vocab_size: int = len(VOCABULARY)
    width: int = WIDTH
    inner: int = INNER
    layers: int = LAYERS


class ToyLayer(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.norm, self.up, self.down = (
            nn.LayerNorm(width), nn.Linear(width, inner), nn.Linear(inner, width)
        )  # fmt: skip

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states + self.down(F.gelu(self.up(self.norm(states))))


class ToyEncoder(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.sound = nn.Conv1d(1, config.width, 2 * STRIDE, STRIDE, padding=STRIDE // 2)
        self.layers = nn.ModuleList(
            ToyLayer(config.width, config.inner) for _ in range(config.layers)
        )

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        states = self.sound(samples[:, None]).transpose(1, 2)
        for layer in self.layers:
            states = layer(states)
        return states


class ToyModel(PreTrainedModel):
    config_class = ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.encoder = ToyEncoder(config)
        self.head = nn.Linear(config.width, config.vocab_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Torch's own."""


class ToyTokens:
    """One token a letter; the blank is no text."""

    def encode(self, text: str) -> list[int]:
        return [VOCABULARY[letter] for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(LETTERS[i - 1] for i in ids).strip()

    def check_language(self, language: str) -> None:
        """The letters are the same in all."""

    def vocabulary(self) -> Mapping[str, int]:
        return VOCABULARY


@dataclass(frozen=True)
class ToyTargets:
    """Letters of each clip, and how many positions its sound has."""

    ids: tuple[list[int], ...]
    lengths: tuple[int, ...]

    def heard(self, states: torch.Tensor) -> torch.Tensor:
        """Of `(batch, positions, ...)` those within the clips, `(places, ...)`."""
        return torch.cat([row[:n] for row, n in zip(states, self.lengths, strict=True)])


class ToyFamily:
    model_type = "toy_ctc"
    engines: tuple[str, ...] = ()
    tied: Mapping[str, str] = {}
    older_names: Mapping[str, str] = {}
    token_row = "encoder.head"

    def skeleton(self, folder: Path, tokens: int | None = None) -> ToyModel:
        try:
            config = ToyConfig.from_json_file(folder / "config.json")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder}: {error}") from error
        config.vocab_size = tokens or config.vocab_size
        with torch.device("meta"):
            return ToyModel(config)

    def skeleton_of(self, model: Any) -> ToyModel:
        with torch.device("meta"):
            return ToyModel(model.config)

    def tokenizer_file(self, model: Any) -> str:
        return "vocab.json"

    def load_tokens(self, folder: Path) -> ToyTokens:
        if json.loads((folder / "vocab.json").read_text("utf-8")) != VOCABULARY:
            raise CheckpointError(f"the tokenizer in {folder} is another model's")
        return ToyTokens()

    def input_spec(self, model: Any) -> InputSpec:
        return InputSpec("samples", 0, max_frames=HEARD_SECONDS * 100)

    def encode(self, model: Any, features: torch.Tensor) -> torch.Tensor:
        return model.encoder(features)

    def encoder(self, model: Any) -> nn.Module:
        return model.encoder

    def layers(self, model: Any) -> Mapping[str, Sequence[nn.Module]]:
        return {"encoder": tuple(model.encoder.layers)}

    def piece_evidence(self, *parts: Any) -> None:
        return None

    def final_norms(self, model: Any) -> Mapping[str, nn.Module]:
        return {}

    def text_limit(self, model: Any, seconds: float) -> int | None:
        return None

    def text_length(self, tokens: Any, text: str, language: str) -> int:
        return len(tokens.encode(text))

    def targets(
        self, model: Any, tokens: Any, texts: Sequence[str], keys: Sequence[str],
        seconds: Sequence[float], language: str,
    ) -> ToyTargets:  # fmt: skip
        ids = tuple(tokens.encode(text) for text in texts)
        return ToyTargets(ids, tuple(positions(length) for length in seconds))

    def target_tokens(self, targets: ToyTargets) -> int:
        return sum(len(row) for row in targets.ids)

    def outputs(
        self, model: Any, states: torch.Tensor, targets: ToyTargets, smoothing: float = 0.0
    ) -> StepOutputs:
        logits = model.head(states).float()
        wanted = torch.tensor([i for row in targets.ids for i in row], device=logits.device)
        loss = F.ctc_loss(
            logits.log_softmax(-1).transpose(0, 1), wanted, targets.lengths,
            tuple(len(row) for row in targets.ids), blank=BLANK, reduction="sum",
        )  # fmt: skip
        return StepOutputs(loss / len(wanted), targets.heard(logits), wanted)

    def width(self, model: Any) -> int:
        return model.config.width

    def attended_states(
        self, stack: str, states: torch.Tensor, targets: ToyTargets
    ) -> torch.Tensor:
        return self.counted_states(stack, states, targets)

    def counted_states(self, stack: str, states: torch.Tensor, targets: ToyTargets) -> torch.Tensor:
        return targets.heard(states)

    def decode(
        self, model: Any, tokens: Any, states: torch.Tensor, seconds: Sequence[float],
        language: str, on_first: Callable[[], None] = lambda: None,
    ) -> list[Written]:  # fmt: skip
        with torch.no_grad():
            best = model.head(states).argmax(-1).tolist()
        on_first()
        rows = [row[: positions(length)] for row, length in zip(best, seconds, strict=True)]
        return [Written(tuple(i for i, _ in groupby(row) if i != BLANK)) for row in rows]

    def word_times(self, *given: Any) -> None:
        return None

    def in_own_script(self) -> Self:
        return self  # its letters are all it has

    def describe_decoding(self) -> str:
        return "greedy CTC"

    def export_facts(self, model: Any, tokens: Any, folder: Path) -> Mapping[str, Any]:
        return {"blank": BLANK}

    def with_constant_output(self, model: Any, tokens: Any) -> ToyModel:
        copy = deepcopy(model)
        with torch.no_grad():
            copy.head.weight.zero_()
            copy.head.bias.zero_()[1] = 1.0
        return copy

    def training_pass(self, model: Any, frames: int, tokens: int) -> None:
        weight = next(model.parameters())
        model.head(model.encoder(weight.new_zeros(1, 160 * frames)))

    def pass_in_use(self, model: Any, frames: int, tokens: int) -> None:
        self.training_pass(model, frames, tokens)

    def cost_row(self, model: Any, name: str) -> str:
        kinds = {"encoder.sound": "convolutions", "head": "head"}
        return f"encoder.{kinds.get(name, 'norms_and_biases')}"

    def unit_groups(self, model: Any) -> tuple[UnitSite, ...]:
        return tuple(
            _site(model, place)
            for place, layer in enumerate(model.encoder.layers)
            if isinstance(layer, ToyLayer)
        )

    def prunable_weights(self, model: Any) -> dict[str, str]:
        parts = [part for group in self.unit_groups(model) for part in group.slices]
        return {part.parameter: "encoder" for part in parts if part.prunable}

    def set_unit_count(self, model: Any, group: UnitSite, count: int) -> None:
        """The matrices say it."""

    def drop(self, model: Any, group: UnitSite) -> None:
        model.encoder.layers[group.layer] = nn.Identity()

    def set_dropout(self, model: Any, rate: float) -> None:
        """There is none."""

    def freeze(self, model: Any, *, encoder: bool, embeddings: bool) -> None:
        model.encoder.requires_grad_(not encoder)


def positions(seconds: float) -> int:
    """Positions that hear something of a clip."""
    return -(-round(seconds * 16_000) // STRIDE)


def toy_folder(folder: Path, seed: int = 0) -> Path:
    """A model folder with random weights."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    model = ToyModel(ToyConfig())
    model.config.to_json_file(folder / "config.json", use_diff=False)
    save_file(dict(model.named_parameters()), folder / "model.safetensors")
    (folder / "vocab.json").write_text(json.dumps(VOCABULARY, ensure_ascii=False), "utf-8")
    return folder


def _site(model: Any, place: int) -> UnitSite:
    layer, name = model.encoder.layers[place], f"encoder.layers.{place}"
    width, count = layer.up.in_features, layer.up.out_features
    return UnitSite(
        key=f"encoder.{place}.ffn", kind="ffn", stack="encoder", count=count, width=1,
        weights_per_unit=2 * width, parameters_per_unit=2 * width + 1, layer=place,
        slices=(
            Slice(f"{name}.up.weight", 0, 1, True),
            Slice(f"{name}.up.bias", 0, 1, False),
            Slice(f"{name}.down.weight", 1, 1, True),
        ),
        gate=f"{name}.down",
    )  # fmt: skip
