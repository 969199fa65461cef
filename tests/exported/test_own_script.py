"""Text held to its script, byte for byte, against UTF-8 worked out by hand."""

import numpy as np
import pytest

from whisperslim.exported.own_script import allowed_characters, mask_for, script_mask
from whisperslim.exported.symbols import symbol_of_byte


def spelled(*raw: int) -> str:
    return "".join(symbol_of_byte()[byte] for byte in raw)


# क is E0 A4 95, the Bengali ক E0 A6 95, ꣠ (Devanagari Extended) EA A3 A0, ا is D8 A7.
TOKENS = [
    spelled(0xE0, 0xA4, 0x95),        # 0: क
    spelled(0xE0, 0xA4),              # 1: begins क
    spelled(0x95),                    # 2: ends it
    spelled(0xE0),                    # 3
    spelled(0xA4),                    # 4
    spelled(0xA6),                    # 5: after 3, Bengali
    spelled(0xD8, 0xA7),              # 6: ا
    "a",                            # 7
    spelled(0x20),                    # 8: a space
    "7",                            # 9
    "?",                            # 10
    spelled(0x95, 0x20, 0xE0, 0xA4),  # 11: ends one, a space, begins the next
    spelled(0xEA, 0xA3),              # 12: begins ꣠, which A4 or A6 may end as well
    spelled(0x20, 0x61),              # 13: a space and a Latin letter
]  # fmt: skip
END = len(TOKENS)
VOCABULARY = {**{token: place for place, token in enumerate(TOKENS)}, "<|endoftext|>": END,
              "<|hi|>": END + 1}  # fmt: skip


def allowed(*before: int) -> set[int]:
    mask = script_mask(VOCABULARY, END, END + 4, "hi")
    row = mask.bias[mask.after(before)]
    return set(np.flatnonzero(row == 0).tolist())


def test_what_may_follow_is_worked_out_by_hand() -> None:
    between = {0, 1, 3, 8, 9, 10, 12, END}
    assert allowed() == between
    assert allowed(0) == between == allowed(1, 2) == allowed(3, 4, 2)
    assert allowed(1) == {2, 4, 5, 11} == allowed(3, 4) == allowed(1, 11), "a last byte, no end"
    assert allowed(3) == {4}, "neither Bengali nor a new character"
    assert allowed(12) == {4, 5}, "EA A3 A4 and EA A3 A6 are Devanagari, EA A3 95 is not"


def test_a_way_that_ends_nowhere_is_not_begun() -> None:
    # Without these no token has a last byte, so that no character may be begun in parts.
    few = {token: i for token, i in VOCABULARY.items() if i not in (2, 4, 5, 11)}
    mask = script_mask(few, END, END + 4, "hi")
    assert set(np.flatnonzero(mask.bias[0] == 0).tolist()) == {0, 8, 9, 10, END}
    assert {1, 3, 12} <= set(mask.never().tolist())


def test_states_over_steps_and_what_is_forbidden_everywhere() -> None:
    mask = script_mask(VOCABULARY, END, END + 4, "hi")
    assert mask.step(mask.after([3]), 4) == mask.after([1]) != 0
    assert mask.after([6]) == mask.after([3, 5]) == -1
    assert mask.kept([0, 1, 2, 6, 0]) == 3 and mask.kept([0]) == 1 and mask.kept([]) == 0
    assert set(mask.never().tolist()) == {6, 7, 13, END + 1, END + 2, END + 3}
    assert set(mask.forbidden(mask.after([3])).tolist()) == set(range(END + 4)) - {4}


@pytest.mark.parametrize(
    ("language", "inside", "outside"),
    [
        ("hi", "कँ़्।०9?-“₹ \u200d", "aéاকß\n"),
        ("ur", "اہ۔،7 ", "कa"),
        ("en", "azé7 '", "कا"),
        ("sr", "жz", "क"),
    ],
)
def test_characters_of_a_language(language: str, inside: str, outside: str) -> None:
    characters = allowed_characters(language)
    assert set(inside) <= characters and not set(outside) & characters


def test_every_text_of_the_alphabet_is_let_through_and_no_other() -> None:
    every = {spelled(byte): byte for byte in range(256)}
    mask = script_mask({**every, "<|endoftext|>": 256}, 256, 257, "hi")
    for code in (*range(0x20, 0x3000), *range(0xA000, 0xB000)):
        state = mask.after(chr(code).encode())
        assert (state == 0) == (chr(code) in allowed_characters("hi")), chr(code)


def test_a_mask_is_made_once_for_a_tokenizer() -> None:
    class Tokenizer:
        pass

    one = Tokenizer()
    found = mask_for(one, VOCABULARY, END, END + 4, "hi")
    assert found is mask_for(one, VOCABULARY, END, END + 4, "hi") is not None
    assert found is not mask_for(Tokenizer(), VOCABULARY, END, END + 4, "hi")
    assert mask_for(one, VOCABULARY, END, END + 4, "no-language") is None
