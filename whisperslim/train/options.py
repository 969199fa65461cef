"""Options of training, distillation and evaluation, declared once."""

from dataclasses import dataclass

from whisperslim.fields import check, option


@dataclass(frozen=True)
class TrainOptions:
    """One stage of training: the main one, or recovery after the cut."""

    steps: int = option(
        200, "Optimizer steps.", unit="steps", minimum=0, maximum=1_000_000, step=10, advanced=False
    )
    batch_size: int = option(8, "Clips per forward pass.", unit="clips", minimum=1, maximum=256)
    accumulate: int = option(
        1,
        "Forward passes per optimizer step; each counts as many times as it has tokens.",
        unit="passes",
        minimum=1,
        maximum=256,
    )
    learning_rate: float = option(
        3e-5, "Peak learning rate of AdamW.", minimum=1e-8, maximum=1e-2, step=1e-6, advanced=False
    )
    warmup_steps: int = option(
        20, "Steps of linear warm-up.", unit="steps", minimum=0, maximum=100_000
    )
    schedule: str = option(
        "linear", "Decay after warm-up.", choices=("linear", "cosine", "constant")
    )
    weight_decay: float = option(0.01, "AdamW weight decay.", minimum=0.0, maximum=1.0, step=0.005)
    clip_norm: float = option(1.0, "Gradient norm clipping; 0 is off.", minimum=0.0, maximum=1e3)
    dropout: float = option(0.0, "Residual dropout.", minimum=0.0, maximum=0.9, step=0.05)
    label_smoothing: float = option(
        0.0,
        "Share of the target probability spread over all tokens.",
        minimum=0.0,
        maximum=0.5,
        step=0.05,
    )
    freeze_encoder: bool = option(False, "Tune the decoder only.")
    freeze_embeddings: bool = option(
        True,
        "Leave the token embedding as it is. Hindi uses under 1 % of its rows, and the gradient of "
        "the rest costs time.",
    )
    average: float = option(
        0.0,
        "Decay of a running average of the weights, used as the result; 0 is off.",
        minimum=0.0,
        maximum=0.9999,
        step=0.01,
    )
    evaluate_every: int = option(
        100, "Steps between dev evaluations; 0 is never.", unit="steps", minimum=0, maximum=100_000
    )
    patience: int = option(
        0,
        "Stop after this many dev evaluations without a better loss; 0 is never.",
        unit="evaluations",
        minimum=0,
        maximum=1000,
    )
    take: str = option(
        "last",
        "Which weights are the result of the stage: the last, or those of the best dev evaluation.",
        choices=("last", "best"),
    )
    checkpoint_every: int = option(
        100, "Steps between checkpoints.", unit="steps", minimum=1, maximum=100_000
    )
    keep_checkpoints: int = option(
        2, "Checkpoints kept; older ones are deleted.", minimum=1, maximum=100
    )
    report_every: int = option(
        5, "Steps between progress reports.", unit="steps", minimum=1, maximum=10_000
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class DistillOptions:
    """Learning from a teacher: its output distribution, and its hidden states layer by layer."""

    teacher: str = option(
        "",
        "Model to learn from: a folder, a run, or a hub id; `dense` is the model compression "
        "starts from; empty is none.",
    )
    weight: float = option(
        1.0, "Weight of the teacher term against cross entropy's 1.", minimum=0.0, maximum=100.0,
        step=0.1,
    )  # fmt: skip
    temperature: float = option(
        2.0, "Softening of both distributions.", minimum=0.1, maximum=20.0, step=0.1
    )
    hidden_weight: float = option(
        0.0,
        "Weight of the hidden states of encoder and decoder, each against cross entropy's 1; 0 is "
        "off: then only the teacher's distribution is learned.",
        label="Hidden state weight",
        minimum=0.0,
        maximum=1000.0,
        step=0.1,
    )
    hidden_loss: str = option(
        "mse",
        "How hidden states are compared, in units of the teacher's. mse: squared difference. "
        "channel_mse: squared difference of each channel, in units of that channel's own size, "
        "so that a few large channels are not all that counts. l1_cosine: absolute difference, "
        "and the angle between them.",
        choices=("mse", "channel_mse", "l1_cosine"),
    )
    hidden_map: bool = option(
        False,
        "Pass the student's states through a trained linear map before they are compared. A model "
        "that keeps its width needs none: without it the states themselves must agree.",
        before=True,
    )
    hidden_final: bool = option(
        True,
        "Also compare what follows the last norm of each stack: what the next stack, or the "
        "choice of the token, reads.",
        before=False,
    )
    hidden_layers: int = option(
        0,
        "Teacher layers per stack that are learned from, evenly spaced with the last; 0 is all.",
        unit="layers",
        minimum=0,
        maximum=1000,
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class EvaluateOptions:
    """How WER is measured. Decoding is greedy with the key/value cache."""

    window: str = option(
        "fit", "Encoder window: fitted to the audio, or 30 s.", choices=("fit", "30s")
    )
    batch_size: int = option(16, "Clips decoded together.", unit="clips", minimum=1, maximum=256)
    limit: int = option(
        0, "Clips of each set that are scored; 0 is all.", unit="clips", minimum=0, maximum=10**9
    )
    dev_limit: int = option(
        64, "Clips of the dev set used during training.", unit="clips", minimum=0, maximum=10**9
    )

    def __post_init__(self) -> None:
        check(self)
