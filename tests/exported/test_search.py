"""The likeliest text of frames, against every way there is to spell one, and by hand."""

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path

import numpy as np
import pytest

from whisperslim.errors import UsageError
from whisperslim.exported.ctc import FrameTiming
from whisperslim.exported.ngrams import BEGIN, END, read_ngrams
from whisperslim.exported.search import Search, aligned, best_text, search_asked, searched_path

BLANK, GAP, A, B = 0, 1, 2, 3
ARPA = """
\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.5
-0.8\t</s>
-0.6\ta\t-0.3
-0.9\tb\t-0.2

\\2-grams:
-0.2\t<s> a
-1.5\ta b
-0.1\ta </s>

\\end\\
"""


@dataclass(frozen=True)
class Letters:
    """A blank, a space, two letters."""

    blank: int = BLANK

    def decode(self, ids: tuple[int, ...]) -> str:
        return " ".join("".join(" ab"[i - 1] for i in ids).split())

    def is_gap(self, token: int) -> bool:
        return token == GAP

    def begins_word(self, token: int) -> bool:
        return False


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    file = tmp_path / "words.arpa"
    file.write_text(ARPA, "utf-8")
    return file


def logs(*frames: tuple[float, ...]) -> np.ndarray:
    return np.log(np.array(frames))


def every_text(scores: np.ndarray) -> dict[tuple[int, ...], float]:
    """Text -> probability: the sum over all paths that collapse to it."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for path in product(range(scores.shape[1]), repeat=len(scores)):
        ids = tuple(token for token, _ in groupby(path) if token != BLANK)
        found[ids] += math.exp(sum(scores[i, token] for i, token in enumerate(path)))
    return found


def said(text: str) -> float:
    """Natural logarithm of what the file above gives words and the end, by hand."""
    two = {(BEGIN, "a"): -0.2, ("a", "b"): -1.5, ("a", END): -0.1}
    one = {"a": -0.6, "b": -0.9, END: -0.8}
    back = {BEGIN: -0.5, "a": -0.3, "b": -0.2}
    total, before = 0.0, BEGIN
    for word in (*text.split(), END):
        known = word if word in one else "<unk>"
        known_pair = two.get((before, known))
        total += back.get(before, 0.0) + one.get(known, -1.0) if known_pair is None else known_pair
        before = known
    return total * math.log(10)


@pytest.mark.parametrize("seed", range(12))
def test_a_wide_beam_finds_the_likeliest_of_all_texts(seed: int, arpa: Path) -> None:
    rng = np.random.default_rng(seed)
    scores = np.log(rng.dirichlet(np.full(4, 0.7), size=5) * 0.99 + 0.0025)
    texts, letters = every_text(scores), Letters()
    assert sum(texts.values()) == pytest.approx(1.0)
    assert best_text(scores, letters, Search(width=500)) == max(texts, key=lambda t: texts[t])

    def weighed(ids: tuple[int, ...]) -> float:
        text = letters.decode(ids)
        return math.log(texts[ids]) + 0.7 * said(text) + 0.4 * len(text.split())

    model = read_ngrams(arpa)
    found = best_text(scores, letters, Search(500, model, weight=0.7, bonus=0.4))
    assert weighed(found) == pytest.approx(max(map(weighed, texts)))


def test_paths_of_one_text_are_added_up() -> None:
    """The likeliest path writes nothing (0.36), and three others together "a" (0.64)."""
    scores = logs((0.6, 1e-9, 0.4, 1e-9), (0.6, 1e-9, 0.4, 1e-9))
    assert best_text(scores, Letters(), Search(width=4)) == (A,)


def test_a_language_model_decides_between_words_that_sound_alike(arpa: Path) -> None:
    scores = logs((0.02, 0.02, 0.46, 0.5), (0.94, 0.02, 0.02, 0.02))
    model = read_ngrams(arpa)
    assert best_text(scores, Letters(), Search()) == (B,)
    assert best_text(scores, Letters(), Search(words=model)) == (A,)


def test_words_have_the_chances_of_the_file(arpa: Path) -> None:
    model, ten = read_ngrams(arpa), math.log(10)
    assert model.order == 2
    assert model.after((BEGIN,), "a") == pytest.approx(-0.2 * ten)
    assert model.after((BEGIN,), "b") == pytest.approx((-0.5 - 0.9) * ten), "backed off"
    assert model.after(("b",), "never seen") == pytest.approx((-0.2 - 1.0) * ten)
    assert model.after(("x", "y", "a"), END) == pytest.approx(-0.1 * ten), "one word before counts"


@pytest.mark.parametrize("seed", range(8))
def test_the_alignment_is_the_likeliest_path_of_a_text(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.log(rng.dirichlet(np.ones(4), size=6))
    for ids in ((), (A,), (A, A), (A, B, A), (A, A, A)):
        paths = [
            path for path in product(range(4), repeat=6)
            if tuple(t for t, _ in groupby(path) if t != BLANK) == ids
        ]  # fmt: skip
        best = max(sum(scores[i, t] for i, t in enumerate(path)) for path in paths)
        found = aligned(scores, ids, BLANK)
        assert tuple(int(t) for t, _ in groupby(found) if t != BLANK) == ids
        assert sum(scores[i, t] for i, t in enumerate(found)) == pytest.approx(best)
    with pytest.raises(ValueError, match="do not fit into 6 frames"):
        aligned(scores, (A, A, A, A), BLANK)


def test_words_have_the_times_of_their_frames() -> None:
    sure, rest = 0.97, 0.01
    order = (BLANK, A, A, GAP, BLANK, B, BLANK)
    scores = logs(*(tuple(sure if t == token else rest for t in range(4)) for token in order))
    path = searched_path(scores, Letters(), FrameTiming(0.1), 0.7, Search())
    assert path.ids == (A, GAP, B)
    assert [(w.text, round(w.start, 6), round(w.end, 6)) for w in path.words] == [
        ("a", 0.1, 0.3), ("b", 0.5, 0.6),
    ]  # fmt: skip
    assert all(word.confidence == pytest.approx(sure) for word in path.words)
    shorter = searched_path(scores, Letters(), FrameTiming(0.1), 0.3, Search())
    assert shorter.ids == (A,), "frames behind the clip do not count"


def test_what_cannot_be_used_is_refused(tmp_path: Path, arpa: Path) -> None:
    wrong = {
        "has no line": "ngram 1=2\n",
        "up to 5000000 are read": "\\data\\\nngram 1=90000000\n\n",
        "counts of": "\\data\\\nngram 2=1\n\n",
        "its head says": ARPA.replace("ngram 1=5", "ngram 1=6"),
        "more 1-grams than": ARPA.replace("ngram 1=5", "ngram 1=4"),
        "no entry <unk>": ARPA.replace("<unk>", "<other>"),
        "is no 2-gram": ARPA.replace("<s> a\n", "<s>\n"),
        "logarithm of a probability": ARPA.replace("-0.6\ta", "0.6\ta"),
        "could not convert": ARPA.replace("-0.6\ta", "x\ta"),
    }
    for place, (words, text) in enumerate(wrong.items()):
        file = tmp_path / f"{place}.arpa"
        file.write_text(text, "utf-8")
        with pytest.raises(UsageError, match=words):
            read_ngrams(file)
    with pytest.raises(UsageError, match="cannot be used as a language model"):
        read_ngrams(tmp_path)
    assert search_asked(0, None, 0.5, 1.0) is None
    assert search_asked(8, arpa, 0.5, 1.0) == Search(8, read_ngrams(arpa))
    for words, asked in {
        "needs a beam": (0, arpa, 0.5, 1.0),
        "a beam of 9999": (9999, None, 0.5, 1.0),
        "weight of nan": (8, arpa, math.nan, 1.0),
    }.items():
        with pytest.raises(UsageError, match=words):
            search_asked(*asked)
