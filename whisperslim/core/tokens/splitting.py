"""New tokens written with their pieces now and then, so that training keeps those in use.

In the manner of BPE dropout (Provilkov et al., arXiv 1910.13267), which leaves out merges at
random. Whole new tokens are split here, into the old tokens they stand for: our choice.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisperslim.core.disk.untrusted import read_json
from whisperslim.core.families.hearing import Tokens
from whisperslim.core.store.checkpoint import VOCABULARY_FILE
from whisperslim.core.tokens.vocabulary import vocabulary_from_record


@dataclass(frozen=True)
class Splitting:
    """Which tokens of a model may be split, and how often they are.

    Attributes:
        pieces: New token -> the ids that are written in its place.
        rate: Share of them that are split.
        seed: Of the draws, together with what `tokens` is given.
        longest: Most ids of a text; one that would be longer stays as it is. None: any length.
    """

    pieces: Mapping[int, tuple[int, ...]]
    rate: float
    seed: int
    longest: int | None = None

    def tokens(self, tokens: Tokens, stage: str, step: int, keys: Sequence[str]) -> Tokens:
        """`tokens` as this step spells the clips `keys`: the same whenever it is asked."""
        drawn = random.Random(f"{self.seed} {stage} {step} {' '.join(keys)}")
        return _SplitTokens(tokens, self, drawn)


class _SplitTokens:
    """Spells with splits; in all else the tokenizer it was made of."""

    def __init__(self, tokens: Tokens, splitting: Splitting, drawn: random.Random) -> None:
        self._tokens, self._splitting, self._drawn = tokens, splitting, drawn

    def encode(self, text: str) -> list[int]:
        """Ids of the text, another spelling at every call."""
        own, pieces = self._tokens.encode(text), self._splitting.pieces
        found: list[int] = []
        for token in own:
            split = token in pieces and self._drawn.random() < self._splitting.rate
            found.extend(pieces[token] if split else (token,))
        longest = self._splitting.longest
        return own if longest is not None and len(found) > longest else found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokens, name)


def pieces_of(folder: Path) -> dict[int, tuple[int, ...]]:
    """New token -> its pieces, of a model whose vocabulary was chosen; none of another one.

    Raises `CheckpointError` for a damaged record.
    """
    file = folder / VOCABULARY_FILE
    if not file.is_file():
        return {}
    record = read_json(file)
    # Tokenizers of other kinds keep a table of that name, of ids alone.
    if not isinstance(record, dict) or "pieces" not in record:
        return {}
    vocabulary = vocabulary_from_record(record)
    ids = vocabulary.new_ids
    return {
        token: tuple(ids[old] for old in vocabulary.sources[token])
        for token in vocabulary.added_ids
    }
