"""Transcripts word by word: what differs and what is left out, and when each word was said."""

import pytest

from whisperslim.exported.ctc import Word
from whisperslim.speech.scoring.normalizer import by_name, for_language
from whisperslim.speech.scoring.transliteration import to_devanagari
from whisperslim.ui.compare.written import spans_of, written_beside, written_html

HINDI = for_language("hi")


def differing(transcript: str, other: str) -> list[str]:
    return [word.text for word in written_beside(transcript, other, HINDI).words if word.differs]


def test_words_that_differ_are_marked_as_they_were_written() -> None:
    assert differing("मैं घर जाती हूँ।", "मैं घर जाता हूँ") == ["जाती"]
    assert differing("मैं बड़े घर जाता हूँ", "मैं घर जाता हूँ") == ["बड़े"], "what is too much, too"
    # The danda and हिन्दी for हिंदी are no differences after the normalizer.
    assert differing("हिन्दी।", "हिंदी") == []


def test_what_is_left_out_stands_where_it_belongs() -> None:
    written = written_beside("मैं जाता", "मैं घर जाता हूँ", HINDI)
    assert [word.left_out for word in written.words] == [(), ("घर",)]
    assert written.left_out == (HINDI("हूँ"),)
    page = written_html(written, left_out=True)
    assert page.index("मैं") < page.index("<del") < page.index("घर") < page.index("जाता")
    assert page.count("<del") == 2 and "<del" not in written_html(written, left_out=False)


def test_a_text_in_another_script_is_marked_by_what_was_heard() -> None:
    folded = by_name("hindi-1+nukta-folding")
    # Urdu writes में and मैं alike.
    urdu = "میں موہن کے ساتھ گیند کھیلنے جا رہا ہوں"
    said = "मैं मोहन के साथ गेंद खेलने जा रहा हूँ।"
    written = written_beside(urdu, said, folded, to_devanagari)
    assert [word.text for word in written.words if word.differs] == ["میں"]


def test_a_normalizer_that_joins_words_marks_none() -> None:
    class Joining:
        name = version = "joins"

        def __call__(self, text: str) -> str:
            return text.replace("a b", "ab")

    written = written_beside("a b c", "x", Joining())
    assert [word.differs for word in written.words] == [False, False, False]


def test_a_transcript_cannot_become_markup() -> None:
    page = written_html(written_beside("<script> x", "y z <i>", HINDI), left_out=True)
    assert "<script>" not in page and "<i>" not in page and "&lt;script&gt;" in page


def test_times_are_matched_by_letters() -> None:
    # Models divide a text in their own way: here a word in two, and two words in one.
    heard = [
        Word("मैं", 0.1, 0.4, 1.0), Word(" घ", 0.5, 0.6, 1.0), Word("र", 0.6, 0.8, 1.0),
        Word("जाता हूँ", 0.9, 1.5, 1.0),
    ]  # fmt: skip
    found = spans_of("मैं  घर जाता हूँ", heard)
    assert found == ((0.1, 0.4), (0.5, 0.8), (0.9, 1.5), (0.9, 1.5))


@pytest.mark.parametrize("text", ["मैं", "मैं घर", "घर मैं", ""])
def test_times_of_another_text_are_none(text: str) -> None:
    assert spans_of(text, [Word("मैं", 0, 1, 1.0), Word("न", 1, 2, 1.0)]) == ()
