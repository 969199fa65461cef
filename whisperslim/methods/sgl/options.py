"""Options of Sparse Group LASSO; `method` says what they do."""

from dataclasses import dataclass

from whisperslim.fields import check, option

SUMMARY = "Sparse Group LASSO fine-tuning, then two-pass weight-adaptive pruning"


@dataclass(frozen=True)
class SGLOptions:
    """Penalties, grouping, importance and how the two thresholds are found."""

    lambda_group_encoder: float = option(
        2.0,
        "Pull on whole heads and FFN units of the encoder. Per unit of learning rate, the root "
        "mean square of a unit's weights falls by this much.",
        label="Group penalty, encoder",
        minimum=0.0,
        maximum=50.0,
        step=0.1,
        advanced=False,
    )
    lambda_group_decoder: float = option(
        2.0,
        "Pull on whole heads and FFN units of the decoder.",
        label="Group penalty, decoder",
        minimum=0.0,
        maximum=50.0,
        step=0.1,
        advanced=False,
    )
    lambda_l1_encoder: float = option(
        0.05,
        "Pull on single weights of the encoder. Per unit of learning rate, every weight moves "
        "this much towards zero.",
        label="L1 penalty, encoder",
        minimum=0.0,
        maximum=10.0,
        step=0.01,
        advanced=False,
    )
    lambda_l1_decoder: float = option(
        0.05,
        "Pull on single weights of the decoder.",
        label="L1 penalty, decoder",
        minimum=0.0,
        maximum=10.0,
        step=0.01,
        advanced=False,
    )
    form: str = option(
        "proximal",
        "proximal: true group LASSO, exact zeros. squared: the squared norms added to the loss, "
        "which shrinks but makes nothing zero.",
        choices=("proximal", "squared"),
    )
    grouping: str = option(
        "units",
        "units: heads and FFN units, which can be cut out. paper: columns of each matrix, which "
        "become zeros.",
        choices=("units", "paper"),
    )
    weighting: str = option(
        "target",
        "Which units are pulled. uniform: all alike. adaptive: small ones harder. target: only "
        "those the target would drop by today's importance. Acts only with form proximal and "
        "grouping units; else all are pulled alike.",
        choices=("uniform", "adaptive", "target"),
    )
    importance: str = option(
        "fisher",
        "How a unit is ranked. norm: the weights' norm against its layer's. fisher: how much the "
        "loss depends on it, per weight.",
        choices=("norm", "fisher"),
    )
    strength: str = option(
        "fixed",
        "How hard units are pulled, where weighting acts. fixed: by the group penalties. solved: "
        "so that pulled units reach zero when the stage ends; the group penalties then only say "
        "which stack is pulled at all.",
        choices=("fixed", "solved"),
    )
    importance_clips: int = option(
        512,
        "Fisher: training clips, without augmentation, to measure on before training, where it "
        "chooses what to pull, and before the plan; 0: measure during training.",
        unit="clips",
        minimum=0,
        maximum=1_000_000,
    )
    importance_every: int = option(
        4,
        "Steps between importance measurements, where importance is measured during training.",
        unit="steps",
        minimum=1,
        maximum=1000,
    )
    refocus_every: int = option(
        10,
        "Where weighting acts: steps between new choices of what to pull. A choice made on clean "
        "clips before training is final.",
        unit="steps",
        minimum=1,
        maximum=10_000,
    )
    begin: float = option(
        0.0,
        "Share of the steps with plain tuning before anything is pulled. Importance is measured "
        "from the start.",
        minimum=0.0,
        maximum=0.9,
        step=0.05,
    )
    settle: float = option(
        0.5,
        "Where weighting acts: share of the steps after which the choice of what to pull is final.",
        minimum=0.0,
        maximum=1.0,
        step=0.05,
    )
    prune: str = option(
        "target",
        "How much to remove. target: exactly the target. constants: by k_c and k_w. bisection: as "
        "much as the dev set allows, up to the target.",
        choices=("target", "constants", "bisection"),
    )
    k_c: float = option(
        1.0,
        "Pass 1: drop units this many deviations below their layer's mean norm.",
        unit="deviations",
        minimum=-10.0,
        maximum=10.0,
        step=0.05,
    )
    k_w: float = option(
        0.3,
        "Pass 2: zero weights within this many deviations of their matrix's mean.",
        unit="deviations",
        minimum=0.0,
        maximum=10.0,
        step=0.01,
    )
    tolerance: float = option(
        0.0,
        "Bisection: allowed rise of the dev WER, as a fraction.",
        minimum=0.0,
        maximum=1.0,
        step=0.005,
    )
    rounds: int = option(5, "Bisection: plans tried.", unit="plans", minimum=1, maximum=30)

    def __post_init__(self) -> None:
        check(self)

    @property
    def weighs_units(self) -> bool:
        """Whether `weighting` acts: squares and columns are all pulled alike."""
        return self.form == "proximal" and self.grouping == "units"

    def group_strength(self, stack: str) -> float:
        """The group penalty of one stack."""
        return self.lambda_group_encoder if stack == "encoder" else self.lambda_group_decoder

    def l1_strength(self, stack: str) -> float:
        """The L1 penalty of one stack."""
        return self.lambda_l1_encoder if stack == "encoder" else self.lambda_l1_decoder
