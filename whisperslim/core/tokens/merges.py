"""New tokens for frequent pieces of words, so that a word takes fewer decoding steps.

Whisper writes a Hindi word in five tokens for two reasons: it has few Devanagari tokens, and its
tokenizer splits words at every vowel sign, which is a mark and not a letter to it. A byte-level
BPE trained on transcripts, and words that stay whole, avoid both. Our choice throughout: new merges
go before the old ones, and a new token's embedding begins as the mean of its old pieces'.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from tokenizers import Tokenizer, models, trainers

from whisperslim.core.tokens.vocabulary import Merge, TokenTable, Vocabulary
from whisperslim.errors import UsageError
from whisperslim.exported.symbols import symbols_of
from whisperslim.text.scripts import letters


def with_new_tokens(
    table: TokenTable, vocabulary: Vocabulary, texts: Iterable[str], count: int, floor: int = 5
) -> Vocabulary:
    """`vocabulary` with up to `count` new tokens for what `texts` write often.

    Only letters and marks of scripts other than Latin get new tokens, so that Latin text is cut as
    before. Texts that repeat too little give fewer.

    Args:
        table: The tokenizer `vocabulary` was chosen from.
        vocabulary: Tokens that stay, without new ones.
        texts: Transcripts to learn from: of the training set alone.
        count: New tokens wanted, at least 1.
        floor: How often the texts must hold a character, or a pair, that is to become a token.

    Raises:
        UsageError: no ticked language has a script of its own, or the texts hold no word of it.
    """
    words = list(_words(texts, letters(vocabulary.languages) - letters(["en"])))
    if not words:
        raise UsageError(
            "new tokens are for scripts other than Latin, and the training transcripts hold no "
            f"word in one of {', '.join(vocabulary.languages)}; set vocabulary.merges to 0"
        )
    kept = set(vocabulary.keep)
    known = {token: i for token, i in table.text.items() if i in kept}
    merges, added = _new_merges(words, known, count, floor)
    old_way = _tokenizer(known, table.merges)
    pieces = tuple(
        tuple(known[piece.value] for piece in old_way.model.tokenize(token)) for token in added
    )
    return replace(vocabulary, merges=merges, added=added, pieces=pieces)


def _words(texts: Iterable[str], alphabet: frozenset[str]) -> Iterator[str]:
    """Words of the alphabet's letters, with the space before them as they are decoded."""

    def is_letter(character: str) -> bool:
        return character in alphabet and unicodedata.category(character)[0] in "LM"

    for text in texts:
        before = " "
        for inside, characters in groupby(text.strip(), is_letter):
            run = "".join(characters)
            if inside:
                yield " " + run if before.endswith(" ") else run
            before = run


def _new_merges(
    words: Sequence[str], known: Mapping[str, int], count: int, floor: int
) -> tuple[tuple[Merge, ...], tuple[str, ...]]:
    """Merges in order, and what they make that is not known, until that is `count`.

    Characters are put together first. Trained on bytes alone, the BPE would prefer the end of one
    character with the beginning of the next, since most characters of a script begin alike.
    """
    merges: dict[Merge, None] = {}
    added: dict[str, None] = {}
    pairs = _frequent_pairs(words, count + len(known), floor)
    for left, right in (*_spellings(words, floor), *pairs):
        if left + right not in known and left + right not in added:
            if len(added) == count:
                break
            added[left + right] = None
        merges[left, right] = None
    return tuple(merges), tuple(added)


def _spellings(words: Sequence[str], floor: int) -> Iterator[Merge]:
    """Merges of bytes into the characters that occur often, the most frequent first."""
    seen = Counter(character for word in words for character in word)
    for character, times in sorted(seen.items(), key=lambda item: (-item[1], item[0])):
        symbols = symbols_of(character)
        if times >= floor:
            yield from ((symbols[:n], symbols[n]) for n in range(1, len(symbols)))


def _frequent_pairs(words: Sequence[str], most: int, floor: int) -> Iterator[Merge]:
    """Merges of characters into pieces of words, as a BPE of up to `most` merges has them."""
    trained = Tokenizer(models.BPE())
    characters = len(set("".join(words)))
    trainer: Any = trainers.BpeTrainer(
        vocab_size=characters + most, min_frequency=floor, show_progress=False
    )
    trained.train_from_iterator(words, trainer)
    for left, right in json.loads(trained.to_str())["model"]["merges"]:
        yield symbols_of(left), symbols_of(right)


def _tokenizer(known: dict[str, int], merges: Sequence[Merge]) -> Tokenizer:
    within = [pair for pair in merges if {*pair, "".join(pair)} <= known.keys()]
    return Tokenizer(models.BPE(vocab=known, merges=within))
