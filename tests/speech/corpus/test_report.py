"""What the data report finds, on recordings made here and on the demo corpus."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from whisperslim.errors import UsageError
from whisperslim.speech.corpus.dataset import Item, load_items
from whisperslim.speech.corpus.report import (
    SHARED,
    UNUSABLE,
    DataReport,
    TextLimit,
    examine,
    usable,
)

DEMO = Path(__file__).parents[3] / "assets" / "demo_hi"


def tone(folder: Path, name: str, seconds: float) -> str:
    times = np.arange(round(seconds * 16_000)) / 16_000
    soundfile.write(folder / name, 0.3 * np.sin(2 * np.pi * 220 * times), 16_000)
    return str(folder / name)


@pytest.fixture
def corpus(tmp_path: Path) -> list[Item]:
    noise = tmp_path / "noise.wav"
    noise.write_bytes(b"this is no recording at all" * 50)
    good = tone(tmp_path, "good.wav", 1.5)
    return [
        Item("good", good, "हिन्दी में क्षमा, ५ बार।", "s1"),
        Item("missing", str(tmp_path / "missing.wav"), "एक", "s1"),
        Item("noise", str(noise), "दो", "s2"),
        Item("long", tone(tmp_path, "long.wav", 3.5), "तीन"),
        Item("short", tone(tmp_path, "short.wav", 0.1), "चार"),
        Item("empty", tone(tmp_path, "empty.wav", 0.4), " ।"),
        Item("latin", tone(tmp_path, "latin.wav", 0.5), "यह OK है OK"),
        Item("again", tone(tmp_path, "again.wav", 0.5), "यह  OK है OK"),
    ]


def found(report: DataReport) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for problem in report.problems:
        kinds.setdefault(problem.kind, []).append(problem.key)
    return kinds


def test_each_fault_is_found_once_and_named(corpus):
    report = examine(corpus, max_seconds=3.0)
    assert found(report) == {
        "missing": ["missing"],
        "unreadable": ["noise"],
        "too_long": ["long"],
        "too_short": ["short"],
        "empty_text": ["empty"],
        "foreign_characters": ["latin", "again"],
        "duplicate_text": ["again"],
    }
    assert (report.clips, report.speakers) == (8, 2)
    # 1.5 + 3.5 + 0.1 + 0.4 + 0.5 + 0.5: the clips that decode.
    assert report.seconds == pytest.approx(6.5)
    assert report.minutes == pytest.approx(6.5 / 60)


def test_characters_outside_the_language_are_counted(corpus):
    assert examine(corpus).characters == (("K", 4), ("O", 4))
    message = next(p.message for p in examine(corpus).problems if p.key == "latin")
    assert message == "'K' (U+004B) 2x, 'O' (U+004F) 2x"


def test_joiners_digits_and_danda_are_hindi_and_urdu_script_is_not(tmp_path):
    path = tone(tmp_path, "x.wav", 1.0)
    hindi = Item("h", path, "क्\u200dष 12 १२ “हाँ” – ठीक है॥ ज़्यादा?")
    assert examine([hindi]).problems == ()
    assert examine([Item("u", path, "یہ है")]).characters == (("ہ", 1), ("ی", 1))


def test_languages_are_checked_by_the_script_they_are_written_in(tmp_path):
    path = tone(tmp_path, "x.wav", 1.0)
    tamil = Item("t", path, "அவர்: “ஆம்”। 12 ௧௨")
    assert examine([tamil], language="ta").problems == ()
    assert examine([Item("f", path, "où ça, 2")], language="fr").problems == ()
    assert examine([tamil, Item("h", path, "है")], language="ta").characters == (("ह", 1), ("ै", 1))


def test_a_language_without_an_alphabet_is_said_not_to_be_checked(tmp_path):
    report = examine([Item("x", tone(tmp_path, "x.wav", 1.0), "où")], language="xyz")
    assert report.characters is None
    assert "not checked" in "\n".join(report.lines())


def test_usable_drops_what_the_caller_says(corpus):
    report = examine(corpus, max_seconds=3.0)
    assert [i.key for i in usable(corpus, report)] == ["good", "latin", "again"]
    strict = usable(corpus, report, drop=UNUSABLE | {"duplicate_text"})
    assert [i.key for i in strict] == ["good", "latin"]
    assert usable(corpus, report, drop=frozenset()) == corpus
    with pytest.raises(UsageError, match="no such kind of problem: 'latin'; known: missing"):
        usable(corpus, report, drop={"latin"})


def test_a_text_longer_than_the_positions_is_found_and_unusable(tmp_path):
    path = tone(tmp_path, "x.wav", 1.0)
    items = [Item("fits", path, "क" * 6, "s"), Item("not", path, "ख" * 7, "s")]
    # Three bytes a letter and four for the prompt: 22 and 25.
    limit = TextLimit(lambda text: 4 + len(text.encode()), 22)
    report = examine(items, limit=limit)
    assert found(report) == {"text_too_long": ["not"]}
    (problem,) = report.problems
    assert problem.message == "its text takes 25 of the model's 22 positions"
    assert [item.key for item in usable(items, report)] == ["fits"]
    assert report.to_record()["counts"]["text_too_long"] == 1 and report.positions == 22
    assert any(line.startswith("text_too_long: 1 clips") for line in report.lines())
    assert examine(items).problems == () and examine(items).positions is None


def test_a_text_that_fits_for_sure_is_not_counted(tmp_path):
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text.encode())

    path = tone(tmp_path, "x.wav", 1.0)
    items = [Item(str(n), path, "अ" * n) for n in range(1, 5)]  # 3 bytes each
    report = examine(items, limit=TextLimit(count, 9, short=6))
    assert counted == ["अ" * 3, "अ" * 4]
    assert [p.key for p in report.problems if p.kind == "text_too_long"] == ["4"]


def test_what_train_and_test_share_is_found(tmp_path):
    paths = [tone(tmp_path, f"{n}.wav", 0.5) for n in range(4)]
    train = [
        Item("t0", paths[0], "एक", "s1"),
        Item("t1", paths[1], "दो", "s2"),
        Item("t2", paths[2], "तीन"),
    ]
    test = [
        Item("e0", paths[2], "चार", "s2"),
        Item("e1", paths[3], " एक ", ""),
    ]
    report = examine(train, against=test)
    assert found(report) == {
        "shared_text": ["t0"],
        "shared_speaker": ["t1"],
        "shared_audio": ["t2"],
    }
    assert usable(train, report) == train
    assert usable(train, report, drop=SHARED) == []


def test_the_demo_corpus_is_clean_but_for_its_four_shared_voices():
    train, test = load_items(f"{DEMO}#train"), load_items(f"{DEMO}#test")
    report = examine(test, against=train)
    assert set(found(report)) == {"shared_speaker"}
    assert (report.clips, report.speakers) == (12, 4)
    # The manifest's figures are of the recordings before they were encoded.
    stated = sum(item.duration or 0.0 for item in test)
    assert report.seconds == pytest.approx(stated, abs=12 * 0.05)


def test_progress_load_text_and_record(corpus):
    steps: list[tuple[int, int]] = []
    loaded: list[str] = []

    def load(item: Item) -> np.ndarray:
        loaded.append(item.key)
        return np.zeros(16_000, np.float32)

    report = examine(corpus, load=load, progress=lambda *step: steps.append(step))
    assert steps == [(n, 8) for n in range(1, 9)]
    assert loaded == [item.key for item in corpus if item.key != "missing"]
    record = json.loads(json.dumps(report.to_record()))
    assert record["counts"]["missing"] == 1 and record["counts"]["too_long"] == 0
    text = "\n".join(report.lines())
    assert "missing: 1 clips (the audio file is not there)" in text
    assert "characters outside 'hi': 'K' (U+004B) 4x, 'O' (U+004F) 4x" in text


def test_a_clean_set_says_so(tmp_path):
    report = examine([Item("x", tone(tmp_path, "x.wav", 6.0), "एक", "s")])
    assert report.lines() == ["1 clips, 0.1 minutes, 1 speakers", "no problems found"]
