"""What `slim.json` says of a slim model: its shapes, its vocabulary, where it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisperslim.core.disk.untrusted import read_json, record_of, typed
from whisperslim.errors import CheckpointError

if TYPE_CHECKING:  # they bring torch, which reading a record need not
    from whisperslim.core.families import UnitGroup
    from whisperslim.core.plan.plan import PruningPlan

FORMAT = 1
SLIM_FILE = "slim.json"
_MOST_BYTES, _MOST_VALUES = 1_000_000, 50_000  # our choice; two counts for each group of units


@dataclass(frozen=True)
class VocabularyFacts:
    """What of the dense model's vocabulary was kept.

    Attributes:
        dense_size: Tokens of the dense model.
        size: Tokens now, new ones included.
        languages: The languages they were chosen for.
        timestamps: Whether timestamp tokens are among them.
        added: How many of them are new.
    """

    dense_size: int
    size: int
    languages: tuple[str, ...]
    timestamps: bool
    added: int = 0


@dataclass(frozen=True)
class SlimRecord:
    """What `slim.json` says beside the weights.

    Attributes:
        base: Name of the dense model.
        counts: Unit group key -> units present.
        dense_counts: Unit group key -> units of the dense model.
        dense_parameters: Parameters of the dense model, tied ones counted once.
        removed: Share of the dense model's prunable weights cut out.
        language: The language it was tuned for, or empty.
        vocabulary: What of the vocabulary was kept; None when all of it was.
        head_widths: Attention key -> dimensions of its heads, where they are not the dense model's.
        ranks: Name of a linear layer -> rank of the two matrices it is stored as.
        opened: Names of the linear layers that are opened into components, to be cut.
    """

    base: str
    counts: Mapping[str, int]
    dense_counts: Mapping[str, int]
    dense_parameters: int
    removed: float
    language: str = ""
    format: int = FORMAT
    vocabulary: VocabularyFacts | None = None
    head_widths: Mapping[str, int] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)
    opened: tuple[str, ...] = ()


def describe_cut(
    base: str,
    dense_groups: "Sequence[UnitGroup]",
    dense_parameters: int,
    plan: "PruningPlan",
    language: str,
    vocabulary: VocabularyFacts | None = None,
) -> SlimRecord:
    """The record of a model cut by `plan` from a dense one with `dense_groups`."""
    return SlimRecord(
        base=base,
        counts={group.key: len(plan.keep[group.key]) for group in dense_groups},
        dense_counts={group.key: group.count for group in dense_groups},
        dense_parameters=dense_parameters,
        removed=plan.removed,
        language=language,
        vocabulary=vocabulary,
    )


def read_record(folder: Path) -> SlimRecord:
    """The contents of `slim.json`."""
    try:
        raw: dict[str, Any] = typed(
            read_json((folder / SLIM_FILE).resolve(), most=_MOST_BYTES, values=_MOST_VALUES), dict
        )
        # First of all: another format may have other fields.
        found = raw.get("format", FORMAT)
        if found != FORMAT:
            raise CheckpointError(
                f"{folder} has slim format {found}; this version reads format {FORMAT}"
            )
        record: SlimRecord = record_of(SlimRecord, raw)
        return record
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / SLIM_FILE} cannot be read: {error}") from error


def check_vocabulary(folder: Path, record: SlimRecord, tokens: int) -> None:
    """Raise `CheckpointError` when the record speaks of another number of tokens."""
    facts = record.vocabulary
    if facts is not None and facts.size != tokens:
        raise CheckpointError(
            f"{folder / SLIM_FILE} speaks of {facts.size} tokens, config.json of {tokens}; export "
            "the model again"
        )
