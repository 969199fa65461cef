"""Subtitles and tables of a transcript, by hand."""

import pytest

from whisperslim.engines.base import Transcript
from whisperslim.engines.transcripts import cues, document, record, to_srt, to_tsv, to_vtt
from whisperslim.exported.ctc import Word


def heard(*words: tuple[str, float, float], edges: tuple[float, ...] = (0.0,)) -> Transcript:
    timed = tuple(Word(text, start, end, 0.5) for text, start, end in words)
    text = " ".join(word.text for word in timed)
    ends = (*edges[1:], 4000.0)
    parts = tuple((a, b, text) for a, b in zip(edges, ends, strict=True))
    return Transcript(text, 4000.0, 1.0, 0.1, 3, "30 s", parts, words=timed)


def test_srt_by_hand() -> None:
    made = to_srt(heard(("नमस्ते", 0.0, 0.5), ("a<b", 0.5, 1.25), ("घर", 3661.5, 3662.0)))
    assert made == (
        "1\n00:00:00,000 --> 00:00:01,250\nनमस्ते a<b\n\n2\n01:01:01,500 --> 01:01:02,000\nघर\n"
    )


def test_vtt_marks_what_would_be_a_tag() -> None:
    made = to_vtt(heard(("a<b&c", 0.0, 0.5)))
    assert made == "WEBVTT\n\n00:00:00.000 --> 00:00:00.500\na&lt;b&amp;c\n"


def test_tsv_is_in_milliseconds() -> None:
    made = to_tsv(heard(("a", 0.0, 0.5), ("b", 0.5004, 1.2346)))
    assert made == "start\tend\ttext\n0\t1235\ta b"


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        ([("a", 0, 1), ("b", 1.7, 2)], ["a b"]),
        ([("a", 0, 1), ("b", 1.9, 2)], ["a", "b"]),  # a pause of 0.9 s
        ([("a", 0, 1), ("b", 1, 6.9), ("c", 6.9, 7.1)], ["a b", "c"]),  # 7 s
        ([("a" * 40, 0, 1), ("b" * 43, 1, 2)], ["a" * 40 + " " + "b" * 43]),  # 84 characters
        ([("a" * 40, 0, 1), ("b" * 44, 1, 2)], ["a" * 40, "b" * 44]),
    ],
)
def test_where_a_subtitle_ends(words: list[tuple[str, float, float]], texts: list[str]) -> None:
    assert [cue.text for cue in cues(heard(*words))] == texts


def test_a_subtitle_does_not_go_over_a_cut() -> None:
    found = cues(heard(("a", 9.0, 10.0), ("b", 10.0, 10.5), edges=(0.0, 10.0)))
    assert [cue.text for cue in found] == ["a", "b"]


def test_parts_stand_in_for_words_that_are_not_timed() -> None:
    parts = ((0.0, 2.0, "x y"), (2.0, 3.0, ""), (3.0, 4.0, "z"))
    made = Transcript("x y z", 4.0, 1.0, 0.1, 3, "30 s", parts)
    assert [(c.start, c.end, c.text) for c in cues(made)] == [(0.0, 2.0, "x y"), (3.0, 4.0, "z")]


def test_the_record_is_what_the_page_says() -> None:
    made = document("m", [record(heard(("a", 0.0, 0.5)), "hi")])
    assert made["version"] == 1 and made["model"] == "m"
    (one,) = made["recordings"]
    assert one == {
        "language": "hi", "duration": 4000.0, "text": "a", "window": "30 s", "seconds": 1.0,
        "segments": [{"start": 0.0, "end": 0.5, "text": "a"}], "note": "",
        "words": [{"word": "a", "start": 0.0, "end": 0.5, "confidence": 0.5}],
    }  # fmt: skip
