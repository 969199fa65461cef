"""Tokens that are written from a table, and are also read: what they have in common."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from whisperslim.exported.ctc import FrameTokens

Table = TypeVar("Table", bound=FrameTokens)


@dataclass(frozen=True)
class ByTable(Generic[Table]):
    """Writes as its table does. Attributes: `table`."""

    table: Table

    @property
    def blank(self) -> int:
        """Id of the blank."""
        return self.table.blank

    def decode(self, ids: Sequence[int]) -> str:
        """As the table does."""
        return self.table.decode(ids)

    def is_gap(self, token: int) -> bool:
        """As the table does."""
        return self.table.is_gap(token)

    def begins_word(self, token: int) -> bool:
        """As the table does."""
        return self.table.begins_word(token)


def cases(texts: Iterable[str]) -> tuple[bool, bool]:
    """Whether there are lower, and upper case letters."""
    text = "".join(texts)
    return any(c.islower() for c in text), any(c.isupper() for c in text)


def in_cases(text: str, known: tuple[bool, bool]) -> str:
    """A text in the one case that there are letters of; models made elsewhere may have but one."""
    has_lower, has_upper = known
    if has_lower == has_upper:
        return text
    return text.lower() if has_lower else text.upper()
