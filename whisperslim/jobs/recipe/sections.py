"""Knobs of a whole run: data, target, export, machine."""

from dataclasses import dataclass

from whisperslim.core.plan.arithmetic import MOST_PRUNED, too_much
from whisperslim.core.plan.counting import CURRENCIES, WEIGHTS, WORKLOAD
from whisperslim.engines import registry
from whisperslim.errors import RecipeError
from whisperslim.fields import check, option, problems

HEARD, LISTED = "heard", "listed"


@dataclass(frozen=True)
class DataOptions:
    """Which recordings are used for what. A source is `PATH`, `PATH#SPLIT` or
    `hub:OWNER/NAME#SPLIT`.
    """

    train: tuple[str, ...] = option(
        (), "Recordings to train on: PATH or PATH#SPLIT.", label="Training data", advanced=False
    )
    dev: tuple[str, ...] = option(
        (),
        "Recordings to steer training by; if empty, a part of train is held out.",
        label="Dev data",
    )
    test: tuple[str, ...] = option(
        (), "Recordings for the final scores only.", label="Test data", advanced=False
    )
    dev_fraction: float = option(
        0.1,
        "Share of train held out as dev set when dev is empty; 0 for no dev set.",
        minimum=0.0,
        maximum=0.5,
        step=0.05,
    )
    hold_out_by: str = option(
        "speaker",
        "What train and the held-out dev set must not share: speaker, text, key (each clip by "
        "itself), or another column of the manifest.",
    )
    max_seconds: float = option(
        30.0,
        "Longest clip used in train and dev; never longer than the model hears at once.",
        unit="s",
        minimum=1.0,
        step=1.0,
    )
    lengths: str = option(
        HEARD,
        "How long clips are, before training. heard: every recording is decoded first, and those "
        "that cannot be are found. listed: as `duration` in their list says; recordings are "
        "decoded when training needs them, so that a large set starts at once.",
        choices=(HEARD, LISTED),
    )
    on_problem: str = option(
        "stop",
        "Clips that cannot be used, to train or to score (missing, unreadable, too long, without "
        "text; to train, also with more text than fits): stop the run, or skip them and say so.",
        choices=("stop", "skip"),
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class TargetOptions:
    """How much to remove: shares of the dense model's prunable weights, or see `currency`."""

    removed: float = option(
        0.3,
        "Share that is cut out, of the prunable weights unless `currency` says otherwise: the "
        "model is really smaller and faster.",
        label="Removed",
        minimum=0.0,
        maximum=MOST_PRUNED,
        step=0.01,
        advanced=False,
    )
    zeroed: float = option(
        0.1,
        "Share of the prunable weights set to zero in place: same shapes, same speed.",
        label="Zeroed",
        minimum=0.0,
        maximum=MOST_PRUNED,
        step=0.01,
        advanced=False,
    )

    currency: str = option(
        WEIGHTS,
        "What `removed` is a share of. weights: prunable weights. flops: operations on "
        f"{WORKLOAD}. latency: time of the units in the engine it will run in, as measured on this "
        "machine by `whisperslim profile`.",
        label="Counted in",
        choices=CURRENCIES,
    )
    head_width: int = option(
        0,
        "Dimensions that attention heads keep on average, fitted to training clips before tuning; "
        "`removed` is then a share of what is left. 0 leaves them as they are. Whisper's have 64, "
        "of which 48 lose next to nothing.",
        label="Width of heads",
        minimum=0,
        maximum=1024,
        step=8,
    )

    def __post_init__(self) -> None:
        found = problems(self)
        if not found and (problem := too_much(self.removed, self.zeroed)):
            found["zeroed"] = problem
        if found:
            raise RecipeError(found)


@dataclass(frozen=True)
class ShrinkOptions:
    """What happens at the cut besides cutting."""

    compensate: bool = option(
        True,
        "Adapt the remaining weights and biases to make up for the cut, by least squares on "
        "training clips: recovery starts from a better model, for about a minute.",
        label="Make up for the cut",
        before=False,
    )
    compensate_clips: int = option(
        64,
        "Training clips for that fit, without augmentation; all clips if there are fewer.",
        unit="clips",
        minimum=1,
        maximum=100_000,
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def clips(self) -> int:
        """Clips to fit on; 0 for no fit."""
        return self.compensate_clips if self.compensate else 0


LIKED_BEST = 0.0
"""The share of `InterpolateOptions` that stands for the dev set's choice."""


@dataclass(frozen=True)
class InterpolateOptions:
    """How far results are from the weights before tuning: 1 is all the way."""

    prepared: float = option(
        1.0,
        "Share of the way from the weights before tuning to those after `prepare`, in a straight "
        "line. Under 1, a model that was tuned on a few hours of speech often hears strangers "
        "better. 0: the share with the lowest dev loss, of 0.5 to 1.",
        label="Share of tuning, dense model",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    result: float = option(
        1.0,
        "The same for the slim model, between the cut of the weights before any tuning and the "
        "recovered ones.",
        label="Share of tuning, slim model",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    before: str = option(
        "",
        "The model before tuning, where the recipe's own was tuned in an earlier run: a name as "
        "`model` takes it, of the same shapes. Empty is the recipe's model.",
        label="Model before tuning",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ExportOptions:
    """What the slim folder holds, and where the model will run."""

    dtype: str = option(
        "float16", "Number format of the saved weights.", choices=("float16", "float32")
    )
    engine: str = option(
        registry.OWN,
        lambda: (
            "Where the model will run. It gets a shape that this engine can hold, and is exported "
            "for it. " + registry.help_text()
        ),
        label="Where will it run?",
        choices=registry.names,
        advanced=False,
    )
    quantize: str = option(
        registry.FULL,
        "Number format of the export for that engine: none keeps float32, float16 takes two bytes, "
        "int8 one, int4 half a byte. Not every engine has every one.",
        label="Quantisation",
        choices=registry.precisions,
    )

    def __post_init__(self) -> None:
        found = problems(self)
        if not found and self.quantize != registry.FULL and not self.is_written:
            found["quantize"] = (
                f"nothing is written for engine {self.engine}, so there is nothing to store as "
                f"{self.quantize}; choose another engine, or none"
            )
        if found:
            raise RecipeError(found)

    @property
    def is_written(self) -> bool:
        """Whether an export is made, beside the slim folder."""
        return bool(registry.get(self.engine).exporter)


@dataclass(frozen=True)
class RuntimeOptions:
    """Where and how the work is done."""

    device: str = option(
        "auto",
        "auto uses the GPU when there is one, and reports its choice.",
        choices=("auto", "cpu", "cuda"),
        advanced=False,
    )
    precision: str = option(
        "auto",
        "Arithmetic of training; scores are always computed in fp32. auto: bf16 where the GPU or "
        "the processor (AVX512-BF16, AMX) has it, else fp32; the run reports which.",
        choices=("auto", "fp32", "bf16"),
    )
    threads: int = option(
        0, "CPU threads; 0 is one per core.", unit="threads", minimum=0, maximum=1024
    )
    devices: int = option(
        1,
        "Processes that train together on this machine, each with its own GPU or its share of the "
        "cores. Each takes part of every batch, so batch_size is of all together.",
        unit="processes",
        minimum=1,
        maximum=64,
    )
    gradient_checkpointing: bool = option(
        False,
        "Compute each layer again in the backward pass instead of keeping its states: far less "
        "memory, about a third more time. For medium and large models.",
    )
    seed: int = option(
        0,
        "Seed of everything random: same seed, same run.",
        minimum=0,
        maximum=2**31 - 1,
    )

    def __post_init__(self) -> None:
        check(self)
