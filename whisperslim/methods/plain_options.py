"""Options of plain fine-tuning: there are none."""

from dataclasses import dataclass

SUMMARY = "plain fine-tuning, nothing pruned"


@dataclass(frozen=True)
class PlainOptions:
    """Plain fine-tuning has no options of its own."""
