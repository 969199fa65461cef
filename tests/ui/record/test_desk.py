"""The Record tab's work, called as a page or a stranger would call it."""

from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from tests.support.tiny import write_tone
from whisperslim.errors import UsageError, WhisperSlimError
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.ui.parts.demo_clips import demo_clips
from whisperslim.ui.record.desk import (
    RecordingDesk,
    heard_again,
    progress_html,
    prompt_html,
    saved_html,
    sources,
    state_html,
    step,
)
from whisperslim.ui.record.tab import RecordTab, lay_out_record, sentence_shown, shown

HEARD = SimpleNamespace(
    samples=np.full(8000, 0.25, dtype=np.float32), seconds=0.5, level=-12.0, doubts=()
)


@pytest.fixture
def desk(tmp_path: Path) -> RecordingDesk:
    return RecordingDesk(tmp_path / "recordings", listen=lambda path: HEARD)


def test_supplied_sentences_are_those_of_the_demo_corpus(desk: RecordingDesk) -> None:
    assert desk.choices() == []
    session = desk.create(" my-voice ", "Asha", None)
    assert session.prompts == tuple(dict.fromkeys(demo_clips().values()))
    assert desk.choices() == [(f"my-voice · 0 of {len(session.prompts)}", "my-voice")]


def test_own_sentences_come_from_a_file(desk: RecordingDesk, tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    file.write_text("एक\nदो\n", "utf-8")
    assert desk.create("own", "", str(file)).prompts == ("एक", "दो")


def test_own_sentences_are_of_their_own_language(desk: RecordingDesk, tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    file.write_text("ஒன்று\n", "utf-8")
    assert desk.create("tamil", "", str(file), "ta").language == "ta"
    assert 'lang="ta"' in prompt_html(desk.open("tamil"), 0)
    assert desk.create("supplied", "", None, "ta").language == "hi", "those are Hindi"
    with pytest.raises(UsageError, match="does not know the language"):
        desk.create("other", "", str(file), "klingon")
    session = tmp_path / "recordings" / "tamil" / "session.json"
    session.write_text(session.read_text("utf-8").replace('"language": "ta",', ""), "utf-8")
    assert desk.open("tamil").language == "hi", "as corpora were before it was written down"


def test_recorded_sentences_are_a_source_that_compress_takes(desk: RecordingDesk) -> None:
    session = desk.create("own", "", None)
    with pytest.raises(UsageError, match="nothing is recorded"):
        sources(session)
    desk.save("own", 0, "a.wav")
    train, test = sources(session)
    assert len(load_items(train)) == 1 and test == ""
    desk.save("own", 4, "a.wav")
    train, test = sources(session)
    assert [item.text for item in load_items(test)] == [session.prompts[4]]


def test_a_real_recording_is_decoded_and_kept(tmp_path: Path) -> None:
    desk = RecordingDesk(tmp_path / "recordings")
    desk.create("own", "", None)
    write_tone(tmp_path / "said.wav", seconds=1.25, pitch=300, rate=48_000)
    take, heard = desk.save("own", 0, str(tmp_path / "said.wav"))
    assert take.seconds == 1.25 and heard.doubts == ()
    rate, samples = heard_again(desk.open("own"), 0) or (0, np.zeros(0))
    assert rate == 16_000 and len(samples) == 20_000


def test_a_reading_of_another_sentence_is_noticed(tmp_path: Path) -> None:
    heard = [""]
    desk = RecordingDesk(
        tmp_path / "recordings", listen=lambda path: HEARD, hear=lambda path: heard[0]
    )
    session = desk.create("own", "", None)

    def said(of: str) -> str:
        heard[0] = of
        return desk.sounds_like("own", 0, "a.wav")

    assert said("") == "", "nobody listens"
    assert said(session.prompts[0]) == ""
    words = session.prompts[0].split()
    assert said(" ".join(words[: len(words) // 2 + 1])) == "", (
        "half of it may be all that was heard"
    )
    assert f"sounds like sentence 4: {session.prompts[3]}" in said(session.prompts[3])
    assert said("xyz abc") == "", "like no sentence at all"
    assert desk.sounds_like("own", 0, None) == desk.sounds_like("gone", 0, "a.wav") == ""


@pytest.mark.parametrize("name", [None, 7, "", "../own", "own/..", ["own"], {"a": 1}, "no-such"])
def test_strange_names_are_refused_in_words(desk: RecordingDesk, name: object) -> None:
    for act in (desk.open, lambda n: desk.save(n, 0, "a.wav"), lambda n: desk.drop(n, 0)):
        with pytest.raises(WhisperSlimError):
            act(name)
    assert not desk.root.exists()


@pytest.mark.parametrize("sentence", [-1, 60, 10**9, 1.5, True, None, "0", [0]])
def test_strange_sentences_are_refused_in_words(desk: RecordingDesk, sentence: object) -> None:
    desk.create("own", "", None)
    with pytest.raises(WhisperSlimError):
        desk.save("own", sentence, "a.wav")
    assert desk.open("own").takes() == {}


@pytest.mark.parametrize("recording", [None, "", 3, ["a.wav"]])
def test_no_recording_is_said(desk: RecordingDesk, recording: object) -> None:
    desk.create("own", "", None)
    with pytest.raises(WhisperSlimError, match="no recording"):
        desk.save("own", 0, recording)


@pytest.mark.parametrize("file", [3, "", ["a"], "/no/such/file.txt"])
def test_strange_files_of_sentences_are_refused(desk: RecordingDesk, file: object) -> None:
    with pytest.raises(WhisperSlimError):
        desk.create("own", "", file)
    assert desk.choices() == []


def test_a_damaged_corpus_does_not_hide_the_others(desk: RecordingDesk) -> None:
    desk.create("good", "", None)
    desk.create("bad", "", None)
    (desk.root / "bad" / "session.json").write_text("<script>")
    labels = dict((name, label) for label, name in desk.choices())
    assert labels["good"].startswith("good · 0 of") and "damaged" in labels["bad"]


def test_steps_stay_within_the_corpus(desk: RecordingDesk) -> None:
    session = desk.create("own", "", None)
    last = len(session.prompts) - 1
    assert [step(session, 0, -1), step(session, 0, 1), step(session, last, 1)] == [0, 1, last]


def test_texts_cannot_become_markup(desk: RecordingDesk, tmp_path: Path) -> None:
    file = tmp_path / "own.txt"
    file.write_text("<script>alert(1)</script>\n", "utf-8")
    session = desk.create("own", "<img src=x>", str(file))
    take, _ = desk.save("own", 0, "a.wav")
    heard = SimpleNamespace(**{**vars(HEARD), "doubts": ("<b>loud</b>",)})
    pages = [prompt_html(session, 0), progress_html(session), state_html(session, 0)]
    for page in (*pages, saved_html(0, take, heard)):
        assert "<script" not in page and "<img" not in page and "<b>loud" not in page


@pytest.fixture
def tab() -> RecordTab:
    with gr.Blocks():
        return lay_out_record(desktop=True)


def test_a_fresh_page_shows_the_last_corpus_where_it_stopped(
    desk: RecordingDesk, tab: RecordTab
) -> None:
    empty = shown(tab, desk, None)
    assert empty.keys() == set(tab.shown()) and empty[tab.sentence] == 0
    assert empty[tab.nothing]["visible"] and not empty[tab.desk]["visible"]
    desk.create("own", "", None)
    desk.save("own", 0, "a.wav")
    given = shown(tab, desk, None)
    assert given.keys() == set(tab.shown())
    assert given[tab.desk]["visible"] and not given[tab.nothing]["visible"]
    assert given[tab.sentence] == 1 and given[tab.audio] is None
    assert "Sentence 2 of" in given[tab.prompt] and "not recorded yet" in given[tab.state]


@pytest.mark.parametrize("kept", [0, 0.5])
def test_a_damaged_recording_is_shown_and_deleted(
    desk: RecordingDesk, tab: RecordTab, kept: float
) -> None:
    desk.create("own", "", None)
    desk.save("own", 0, "a.wav")
    path = desk.open("own").takes()[0].path
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    assert shown(tab, desk, None)[tab.corpus]["value"] == "own"
    session = desk.open("own")
    given = sentence_shown(tab, session, 0)
    assert given.keys() == set(tab.sentence_shown()) and given[tab.audio] is None
    assert "damaged" in given[tab.state] and "read it again" in given[tab.state]
    desk.drop("own", 0)
    assert "not recorded yet" in state_html(session, 0) and not path.exists()


def test_a_fresh_page_falls_back_to_a_corpus_that_opens(
    desk: RecordingDesk, tab: RecordTab
) -> None:
    desk.create("good", "", None)
    desk.create("bad", "", None)
    (desk.root / "bad" / "session.json").write_text("<script>")
    given = shown(tab, desk, None)
    listed, progress = given[tab.corpus], given[tab.progress]
    assert listed["value"] == "good" and {name for _, name in listed["choices"]} == {"good", "bad"}
    assert "session.json is damaged" in progress and "of 60 recorded" in progress.replace(
        "</b>", ""
    )
    (desk.root / "good" / "session.json").write_text("")
    given = shown(tab, desk, None)
    listed, progress = given[tab.corpus], given[tab.progress]
    assert listed["visible"] and listed["value"] is None and len(listed["choices"]) == 2
    assert progress.count("session.json is damaged") == 2
    with pytest.raises(WhisperSlimError, match="damaged"):
        shown(tab, desk, "bad")
