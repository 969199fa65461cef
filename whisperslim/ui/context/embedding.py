"""The size of a model's tokens, read from its small files, so that a slider can show it."""

from collections.abc import Sequence
from dataclasses import dataclass

from whisperslim.core.disk.untrusted import read_json
from whisperslim.core.tokens.vocabulary import TokenTable, choose, table_from_layout
from whisperslim.errors import CheckpointError

_MOST_VALUES = 1_000_000  # our choice; a multilingual tokenizer has 250,000


@dataclass(frozen=True)
class Embedding:
    """The tokens of a model and the elements that each takes."""

    table: TokenTable
    width: int

    def without_others(self, languages: Sequence[str], timestamps: bool) -> int:
        """Elements removed when only the tokens of `languages` stay; without languages all stay.

        Raises `UsageError` for a language that the tokenizer has no token for.
        """
        if not languages:
            return 0
        kept = choose(self.table, tuple(languages), timestamps).size
        return (self.table.rows - kept) * self.width


def embedding(name: str) -> Embedding:
    """For a model on this machine, without torch. Raises `SourceError` or `CheckpointError`."""
    from whisperslim.core.fetch.sources import resolve  # takes a second to import

    folder = resolve(name, offline=True).path
    try:
        # In the hub library's cache a model consists of links.
        config, layout = (
            read_json((folder / name).resolve(), values=_MOST_VALUES)
            for name in ("config.json", "tokenizer.json")
        )
        return Embedding(table_from_layout(layout, config["vocab_size"]), config["d_model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"the tokenizer in {folder} cannot be read: {error!r}") from error
