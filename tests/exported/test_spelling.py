"""Ids become the text that the `tokenizers` library makes of them, broken UTF-8 included."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from whisperslim.boxed import BOXED
from whisperslim.errors import CheckpointError, UsageError
from whisperslim.exported.pieces import read_pieces
from whisperslim.exported.spelling import TOKENIZER_FILE, Spelling, read_spelling
from whisperslim.exported.symbols import symbol_of_byte
from whisperslim.text.scripts import LANGUAGES, letters

WORDS = ["▁पानी", "पा", "▁", "न", "▁a▁b", "B", "<unk>"]


def written(tokenizer: Tokenizer, folder: Path) -> tuple[Tokenizer, Spelling]:
    tokenizer.save(str(folder / TOKENIZER_FILE))
    return tokenizer, read_spelling(folder)


def byte_level() -> Tokenizer:
    """All bytes, pieces of characters, and added tokens that are text, in the alphabet and not."""
    symbols = [*symbol_of_byte().values(), "à¤", "¨à¤", "Ġà¤ķ"]
    made = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(symbols)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_tokens([AddedToken("<|0.00|>"), AddedToken("पानी"), AddedToken("Ãx")])
    made.add_special_tokens(["<|endoftext|>", "अंत"])
    return made


def metaspace(scheme: Any) -> Tokenizer:
    made = Tokenizer(models.BPE({word: i for i, word in enumerate(WORDS)}, [], unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    made.decoder = decoders.Metaspace(prepend_scheme=scheme)
    made.add_special_tokens(["<unk>", "<pad>"])
    return made


def unigram() -> Tokenizer:
    scored = [(word, -float(i)) for i, word in enumerate(WORDS)]
    made = Tokenizer(models.Unigram(scored, unk_id=WORDS.index("<unk>")))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.add_special_tokens(["<pad>"])
    return made


TOKENIZERS = {
    "bytes": byte_level, "always": lambda: metaspace("always"), "first": lambda: metaspace("first"),
    "never": lambda: metaspace("never"), "unigram": unigram,
}  # fmt: skip


def check(tokenizer: Tokenizer, spelling: Spelling, rows: Iterable[list[int]]) -> None:
    for ids in rows:
        assert spelling.decode(ids) == tokenizer.decode(ids, skip_special_tokens=True), ids


def random_rows(size: int, count: int, longest: int) -> Iterable[list[int]]:
    draw = np.random.default_rng(0)
    return (draw.integers(0, size, draw.integers(0, longest)).tolist() for _ in range(count))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_text_and_tokens_are_those_of_the_library(name: str, tmp_path: Path) -> None:
    tokenizer, spelling = written(TOKENIZERS[name](), tmp_path)
    size = tokenizer.get_vocab_size()
    assert spelling.ids == tokenizer.get_vocab()
    assert [spelling.token(i) for i in range(size + 2)] == [
        tokenizer.id_to_token(i) for i in range(size + 2)
    ]
    added = tokenizer.get_added_tokens_decoder()
    assert spelling.control == {i for i, token in added.items() if token.special}
    check(tokenizer, spelling, ([i] for i in range(size)))
    check(tokenizer, spelling, random_rows(size + 2, 3000, 12))


def test_bytes_that_are_no_text_become_the_same_marks(tmp_path: Path) -> None:
    """Overlong forms, halves of surrogate pairs, what is beyond Unicode, characters cut short."""
    tokenizer, spelling = written(byte_level(), tmp_path)
    ids = {byte: spelling.ids[symbol] for byte, symbol in symbol_of_byte().items()}
    edges = [0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1,
             0xED, 0xEF, 0xF0, 0xF3, 0xF4, 0xF5, 0xFF]  # fmt: skip
    rows = [[ids[edges[i]] for i in row] for row in random_rows(len(edges), 20_000, 7)]
    check(tokenizer, spelling, rows)
    texts = [spelling.decode(row) for row in rows]
    assert sum("\ufffd" in text for text in texts) > 10_000
    assert sum(bool(text) and "\ufffd" not in text for text in texts) > 100


@pytest.mark.parametrize("boxed", BOXED, ids=lambda boxed: boxed.name)
def test_the_models_in_the_box_are_read_as_the_library_reads_them(boxed: Any) -> None:
    tokenizer = Tokenizer.from_file(str(boxed.path / TOKENIZER_FILE))
    spelling = read_spelling(boxed.path)
    size = tokenizer.get_vocab_size()
    assert spelling.ids == tokenizer.get_vocab() and size > 800
    check(tokenizer, spelling, ([i] for i in range(size)))
    check(tokenizer, spelling, random_rows(size, 3000, 60))


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_language_is_written_if_the_library_encodes_a_letter_of_it(
    name: str, tmp_path: Path
) -> None:
    tokenizer, spelling = written(TOKENIZERS[name](), tmp_path)
    blank = tokenizer.get_vocab_size() - 1
    table, some = read_pieces(tmp_path, blank), set()
    for language in sorted(LANGUAGES):
        tried = (tokenizer.encode(each).ids for each in letters([language]) if each.isalpha())
        spells = any(tokenizer.decode([i for i in ids if i != spelling.unknown]).strip()
                     for ids in tried)  # fmt: skip
        some.add(spells)
        if spells:
            table.check_language(language)
        else:
            with pytest.raises(UsageError, match="spell no letter"):
                table.check_language(language)
    assert some == ({True} if name == "bytes" else {True, False})


def spoil(layout: dict[str, Any], part: str) -> None:
    vocab = layout["model"]["vocab"]
    match part:
        case "no decoder":
            layout["decoder"] = None
        case "another decoder":
            layout["decoder"] = {"type": "WordPiece", "prefix": "##"}
        case "no vocabulary":
            del layout["model"]["vocab"]
        case "an id twice":
            vocab["twice"] = vocab["A"]
        case "two ids":
            layout["added_tokens"].append({**layout["added_tokens"][0], "id": 9999})
        case "no number":
            vocab["A"] = True
        case "below zero":
            vocab["A"] = -1
        case "half a pair":
            vocab["\ud800"] = 9999
        case "a piece without a name":
            layout["model"]["vocab"] = [["a", 0.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("part", "words"),
    [("no decoder", "damaged: decoder"), ("another decoder", "'WordPiece'; accepted are ByteLevel"),
     ("no vocabulary", "damaged: vocab"), ("an id twice", "two tokens have one id"),
     ("two ids", "has two ids"), ("no number", "not a number"), ("below zero", "not a number"),
     ("half a pair", "surrogates"), ("a piece without a name", "no name")],
)  # fmt: skip
def test_a_file_that_is_no_usable_tokenizer_is_refused(
    part: str, words: str, tmp_path: Path
) -> None:
    written(byte_level(), tmp_path)
    file = tmp_path / TOKENIZER_FILE
    layout = json.loads(file.read_text("utf-8"))
    spoil(layout, part)
    file.write_text(json.dumps(layout), "utf-8")
    with pytest.raises(CheckpointError, match=words):
        read_spelling(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"model":' + b"[" * 100_000])
def test_a_file_that_is_no_table_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / TOKENIZER_FILE).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged|cannot be read"):
        read_spelling(tmp_path)
