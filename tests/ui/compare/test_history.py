"""Comparisons on disk, votes on hidden sides, exported pages."""

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import soundfile

from tests.ui.compare.test_compare import comparison
from whisperslim.errors import AudioError, RunError, UsageError
from whisperslim.speech.audio.decoding import decode
from whisperslim.ui.compare import results
from whisperslim.ui.compare.blind import Tally, hide, tallies, tally_html, wilson
from whisperslim.ui.compare.fields import ResultFields, lay_out_results
from whisperslim.ui.compare.history import History
from whisperslim.ui.compare.html import (
    comparison_html,
    comparison_page,
    times_html,
    write_page,
    write_record,
)
from whisperslim.ui.compare.record import Compared, HeardSide, compared_from
from whisperslim.ui.context.side_choice import SideChoice
from whisperslim.ui.parts.demo_clips import CLIPS_FOLDER

CLIP = CLIPS_FOLDER / "audio" / "demo_000.ogg"
SAID = "मैं घर जाता हूँ"


def made(reference: str | None = None, slim: str = "my-run") -> Compared:
    """Dense wrote SAID, slim wrote one word wrong and two pieces of markup."""
    sides = (SideChoice("base", "30s"), SideChoice("/runs/x", "fit", "ctranslate2", "int8"))
    names = ("openai/whisper-base", slim)
    return compared_from(comparison(), names, sides, "hi", reference, "Realistic.")


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "runs")


@pytest.fixture
def shown() -> ResultFields:
    with gr.Blocks():
        return lay_out_results()


# --- kept -------------------------------------------------------------------------------------


def test_what_is_kept_comes_back_with_the_sound_the_models_heard(history: History) -> None:
    one = made(SAID)
    history.save(one, CLIP, 120.0)
    assert history.find(one.key) == one
    assert history.listed() == [one]
    (folder,) = history.folder.iterdir()
    samples, rate = soundfile.read(folder / "recording.flac", dtype="float32")
    assert rate == 16_000 and history.recording(one.key) == (folder / "recording.flac").read_bytes()
    np.testing.assert_allclose(samples, decode(CLIP), atol=2 / 32_768)


def test_newest_first_and_what_is_none_is_left_out(history: History) -> None:
    keys = ["20250101-000000-00000001", "20260101-000000-00000002", "20240101-000000-00000003"]
    for key in keys:
        history.save(replace(made(), key=key), None, 120.0)
    (history.folder / "notes.txt").write_text("mine")
    (history.folder / "20230101-000000-00000004").mkdir()
    (history.folder / keys[2] / "comparison.json").write_text("[" * 100_000)
    assert [each.key for each in history.listed()] == [keys[1], keys[0]]


@pytest.mark.parametrize("key", [None, 3, "", "..", "../x", "/etc", ["a"], "2025", "x" * 9999])
def test_no_key_leads_elsewhere(history: History, key: Any) -> None:
    for act in (history.find, history.delete, lambda k: history.vote(k, "slim")):
        with pytest.raises(RunError):
            act(key)
    with pytest.raises(RunError):
        history.recording(key)


def test_links_are_not_followed(history: History, tmp_path: Path) -> None:
    one = made()
    elsewhere = History(tmp_path / "other")
    elsewhere.save(one, None, 120.0)
    history.folder.mkdir(parents=True)
    (history.folder / one.key).symlink_to(elsewhere.folder / one.key)
    with pytest.raises(RunError, match="link"):
        history.delete(one.key)
    assert history.listed() == [] and elsewhere.listed() == [one]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("format", 2),
        ("made", "yesterday"),
        ("made", 5),
        ("language", None),
        ("audio_seconds", float("nan")),
        ("audio_seconds", "3"),
        ("shared_features", 1),
        ("blind", ["dense", "dense"]),
        ("blind", ["<script>", "slim"]),
        ("vote", "everybody"),
        ("sides", []),
        ("sides", [1, 2]),
        ("sides", None),
        ("reference", 3),
        ("together", 0),
        ("together", 10**9),
        ("together", True),
        ("together", "2"),
    ],
)
def test_a_record_that_somebody_wrote_is_refused(history: History, place: str, value: Any) -> None:
    one = made()
    history.save(one, None, 120.0)
    path = history.folder / one.key / "comparison.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), place: value}))
    with pytest.raises(RunError, match="cannot be read"):
        history.find(one.key)


def test_only_records_that_have_changed_are_read_again(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (replace(made(), key=f"20260101-00000{n}-0000000{n}") for n in (1, 2))
    for each in (one, two):
        history.save(each, None, 120.0)
    assert history.listed() == [two, one]
    read: list[object] = []
    find = History.find

    def noting(self: History, key: object) -> Compared:
        read.append(key)
        return find(self, key)

    monkeypatch.setattr(History, "find", noting)
    assert history.listed() == [two, one] and read == []
    voted = history.vote(one.key, "slim")
    read.clear()
    assert history.listed() == [two, voted] and read == [one.key]
    record = history.folder / two.key / "comparison.json"
    kept = record.read_text()
    record.write_text("{")
    assert history.listed() == [voted]
    record.write_text(kept)
    assert history.listed() == [two, voted]
    record.unlink()
    record.symlink_to(history.folder / one.key / "comparison.json")
    assert history.listed() == [voted], "a link is not followed, whatever was there before"
    history.delete(one.key)
    assert history.listed() == [] and set(history._read) <= {two.key}


def test_deleted_is_gone(history: History) -> None:
    one = made()
    history.save(one, CLIP, 120.0)
    history.delete(one.key)
    assert history.listed() == [] and list(history.folder.iterdir()) == []


def test_a_disk_that_takes_nothing_is_reported(history: History) -> None:
    history.runs.mkdir()
    history.folder.write_text("a file in the way")
    with pytest.raises(RunError, match="could not be kept"):
        history.save(made(), None, 120.0)
    with pytest.raises(AudioError):
        history.save(made(), "nothing.wav", 120.0)


# --- blind ------------------------------------------------------------------------------------


def test_lots_are_drawn_both_ways() -> None:
    drawn = {hide(made()).blind for _ in range(64)}
    assert drawn == {("dense", "slim"), ("slim", "dense")}


@pytest.mark.parametrize("order", [("dense", "slim"), ("slim", "dense")])
@pytest.mark.parametrize("reference", [None, SAID])
def test_hidden_sides_are_hidden(order: tuple[str, str], reference: str | None) -> None:
    hidden = replace(made(reference), blind=order)
    page = comparison_html(hidden, b"fLaC")
    for reported in ("dense", "slim", "whisper-base", "my-run", "PyTorch", "CTranslate2", "0.6 s"):
        assert reported not in page
    texts = re.findall(r'class="ws-transcript"[^>]*>(.*?)</p>', page)
    assert (f'lang="hi">{SAID}</p></section>' in page) == bool(reference)
    assert ["<script" in text or "जाती" in text for text in texts] == [
        role == "slim" for role in order
    ]
    with pytest.raises(UsageError, match="vote first"):
        comparison_page(hidden, b"")
    assert "slim" not in results.list_label(hidden)


def test_hidden_sides_show_only_notes_of_both() -> None:
    one = replace(made(), blind=("slim", "dense"))
    dense, slim = one.sides
    silent, long = "no speech found in 1 of 3 parts", "the longest allowed text was reached"
    for first, second, shown in (
        ("", long, []),
        (silent, f"{silent}; {long}", [silent]),
        (f"{silent}; {long}", f"{silent}; {long}", [silent, long]),
    ):
        sides = (replace(dense, note=first), replace(slim, note=second))
        page = comparison_html(replace(one, sides=sides))
        assert [page.count(note) for note in (silent, long)] == [
            2 * (note in shown) for note in (silent, long)
        ]
        assert long in comparison_html(replace(one, sides=sides, vote="slim"))


def test_a_blind_vote_is_kept_and_stands(history: History) -> None:
    one = replace(made(), blind=("slim", "dense"))
    history.save(one, None, 120.0)
    with pytest.raises(UsageError, match="A, B, same"):
        history.vote(one.key, "slim")
    assert history.vote(one.key, "A").vote == "slim"
    assert history.find(one.key).vote == "slim"
    with pytest.raises(UsageError, match="cannot be changed"):
        history.vote(one.key, "B")
    page = comparison_html(history.find(one.key))
    assert "A was slim, B was dense." in page and "slim heard it better" in page


def test_an_open_vote_may_change_and_does_not_count_as_blind(history: History) -> None:
    one = made()
    history.save(one, None, 120.0)
    history.vote(one.key, "dense")
    assert history.vote(one.key, "same").vote == "same"
    assert tallies(history.listed()) == {} and tally_html(history.listed()) == ""


def test_a_third_model_is_voted_for_by_its_name(history: History, shown: ResultFields) -> None:
    sides = (
        SideChoice("base", "30s"),
        SideChoice("/runs/x"),
        SideChoice("/x", "fit", "onnx", "int8"),
    )
    names = ("openai/whisper-base", "my-run", "my-run")
    one = compared_from(comparison(third=True), names, sides, "hi", None, "Realistic.")
    history.save(one, None, 120.0)
    labels = results.vote_labels(history.vote(one.key, "third"))
    assert labels == (
        "Dense heard it better", "All the same", "Slim heard it better",
        "✓ Slim in ONNX Runtime int8 heard it better",
    )  # fmt: skip
    given = results.updates(shown, history, history.find(one.key))
    assert given[shown.third]["visible"] and "ONNX" in given[shown.third]["value"]
    assert "slim in ONNX Runtime int8 heard it better" in given[shown.result]
    two = made()
    history.save(two, None, 120.0)
    assert not results.updates(shown, history, two)[shown.third]["visible"]
    with pytest.raises(UsageError, match="dense, slim, same"):
        history.vote(two.key, "third")


# --- words in time ----------------------------------------------------------------------------


def test_times_of_words_come_back_and_reach_the_page(history: History) -> None:
    one = made()
    dense, slim = one.sides
    spans = tuple((float(i), i + 0.5) for i in range(4))
    history.save(one, None, 120.0)
    history.vote(one.key, "slim")
    sides = {"dense": replace(dense, times=spans), "slim": replace(slim, untimed="it is <i>")}
    timed = history.add_times(one.key, sides)
    assert history.find(one.key) == timed and timed.vote == "slim"
    page = times_html(timed)
    assert json.loads(unescape(re.findall(r'data-times="(.*?)"', page)[0])) == {
        "dense": [list(span) for span in spans]
    }
    assert "slim: no word is highlighted" in page and "it is &lt;i&gt;" in page
    assert times_html(replace(timed, blind=("slim", "dense"), vote=None)) == ""
    shown = comparison_html(timed)
    assert len(re.findall(r'class="ws-word', shown)) == 4 + 5, "a word each has its own element"


@pytest.mark.parametrize("times", [[[0, 1]], [[0, 1], [1]], [["0", 1]] * 4, 3])
def test_times_that_somebody_wrote_are_refused(history: History, times: Any) -> None:
    one = made()
    history.save(one, None, 120.0)
    path = history.folder / one.key / "comparison.json"
    record = json.loads(path.read_text("utf-8"))
    record["sides"][0]["times"] = times
    path.write_text(json.dumps(record))
    with pytest.raises(RunError, match="cannot be read"):
        history.find(one.key)
    del record["sides"][0]["times"], record["sides"][0]["untimed"]  # as earlier versions wrote it
    path.write_text(json.dumps(record))
    assert history.find(one.key) == one


def test_votes_are_counted_by_pair_of_models() -> None:
    hidden = replace(made(), blind=("slim", "dense"))
    other = replace(made(slim="other"), blind=("dense", "slim"), vote="slim")
    cast = [replace(hidden, vote=vote) for vote in ("slim", "slim", "dense", "same")]
    cast += [other, hidden]
    found = tallies(cast)
    assert sorted((t.dense, t.slim, t.same) for t in found.values()) == [(0, 1, 0), (1, 2, 1)]
    assert "67 %" in tally_html(cast)
    assert Tally(1, 2, 1).decided == 3


def test_wilson_interval_is_the_published_one() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3 (Wilson).
    for hits, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(hits, trials) == pytest.approx((low, high), abs=5e-5)
        mirrored = wilson(trials - hits, trials)
        assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)
    for hits, trials in ((0, 0), (2, 1), (-1, 3)):
        with pytest.raises(ValueError, match="of"):
            wilson(hits, trials)


# --- shown and exported -----------------------------------------------------------------------


def wrote(said: str | None, dense: str, slim: str, **more: Any) -> Compared:
    """A comparison of which the texts are known."""
    one = made(said)
    first, second = one.sides
    return replace(one, sides=(replace(first, text=dense), replace(second, text=slim)), **more)


SPOKEN = "मैं मोहन के साथ गेंद खेलने जा रहा हूँ।"


def test_few_words_name_no_winner() -> None:
    # Four words were said; slim wrote जाती for जाता and two words more, tags being words, too.
    page = comparison_html(made(SAID))
    assert "No winner: dense 0 word errors, slim 4 word errors, of 4 words spoken" in page
    assert "4 of 4 words wrong" in page and "0 of 4 words wrong" in page
    assert "No verdict, since the spoken text is not given" in comparison_html(made())


def test_a_text_in_urdu_script_is_judged_by_what_was_heard() -> None:
    # As written all nine words differ; spelled in Devanagari, Mohan's name alone does.
    urdu = "میں موہن کے ساتھ گیند کھیلنے جا رہا ہوں"
    page = comparison_html(wrote(SPOKEN, urdu, "मैं मोहन के साट गेंद खेंद खेंडने जारा हो।"))
    assert "Dense heard it better: dense 9 word errors as written (1 after" in page
    assert "Arabic (Urdu) script" in page and "Devanagari script" in page
    assert "9 of 9 words wrong as written; " in page
    assert "has to guess the short vowels" in page, "what is lost is said beside the second count"
    assert "word errors, after transliteration, at most" in page
    assert '<p class="ws-said-text" dir="auto" lang="hi">' + SPOKEN in page


def test_when_both_fail_none_is_right_and_a_loop_is_marked() -> None:
    page = comparison_html(wrote(SPOKEN, "तीन " * 8, "एक दो तीन चार"))
    assert "Neither is right" in page
    assert "repeats itself" in page and "8 times in a row" in page


def test_a_winner_needs_a_difference_that_means_something() -> None:
    wrong = SPOKEN.replace("साथ", "साट").replace("गेंद", "खेंद")
    assert "Slim heard it better: dense 2 word errors" in comparison_html(
        wrote(SPOKEN, wrong, SPOKEN)
    )
    one = SPOKEN.replace("साथ", "साट")
    assert "No winner" in comparison_html(wrote(SPOKEN, one, SPOKEN))


def test_speed_and_size_are_said_in_words() -> None:
    one = made(SPOKEN)
    dense, slim = one.sides
    quick = replace(slim, seconds=dense.seconds / 24, bytes_on_disk=dense.bytes_on_disk // 4)
    page = comparison_html(replace(one, sides=(dense, quick)))
    assert "24× faster" in page and "75 % smaller" in page and "0.04 ×" not in page
    assert "same memory" in page and "PyTorch fp32 → CTranslate2 int8" in page
    assert "--takes:0.60s" in page, "bars of time are drawn in the time that was measured"
    assert "4.0× slower" in comparison_html(
        replace(one, sides=(dense, replace(slim, seconds=4 * dense.seconds)))
    )


def test_engine_window_and_origin_of_each_side_are_named() -> None:
    page = comparison_html(made(SPOKEN))
    for each in made(SPOKEN).sides:
        assert page.count(f"{each.runs_in}, {each.hears_in}") >= 2, "in its card and by its time"
    assert "openai/whisper-base, untuned" in page
    tuned = wrote(SPOKEN, SPOKEN, SPOKEN)
    dense = replace(tuned.sides[0], model="my-run/prepared")
    page = comparison_html(replace(tuned, sides=(dense, tuned.sides[1])))
    assert "the dense model tuned in my-run" in page


def test_times_that_are_a_share_of_a_pass_are_kept_and_shown_as_such(history: History) -> None:
    alone, one = made(SAID), replace(made(SAID), together=8)
    assert alone.together == 1
    for each in (alone, one):
        history.save(each, None, 120.0)
        assert history.find(each.key) == each
    page = comparison_html(one)
    assert "together with 7 other recordings: the times are this recording" in unescape(page)
    assert "heard together with 7 more" in page
    assert "with another recording: the times" in unescape(
        comparison_html(replace(one, together=2))
    )
    assert "together with" not in comparison_html(alone)
    record = history.folder / one.key / "comparison.json"
    kept = json.loads(record.read_text())
    del kept["together"]  # of a comparison made before several could be heard at once
    record.write_text(json.dumps(kept))
    assert history.find(one.key) == replace(one, together=1)


def test_a_clip_that_trained_a_model_is_marked(history: History) -> None:
    one = wrote(SPOKEN, SPOKEN, SPOKEN, trained=("slim",))
    assert "this clip was used to train it" in comparison_html(one)
    assert "used to train" not in comparison_html(replace(one, trained=()))
    history.save(one, None, 120.0)
    assert history.find(one.key) == one
    path = history.folder / one.key / "comparison.json"
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**record, "trained": ["everybody"]}))
    with pytest.raises(RunError, match="cannot be read"):
        history.find(one.key)
    del record["trained"]  # as earlier versions wrote it
    path.write_text(json.dumps(record))
    assert history.find(one.key) == replace(one, trained=())


def test_a_saved_record_has_the_verdict(tmp_path: Path) -> None:
    one = wrote(SPOKEN, "तीन " * 8, SPOKEN)
    record = json.loads(write_record(one, tmp_path).read_text("utf-8"))
    assert record["winner"] == "slim" and record["verdict"].startswith("Slim heard it better")
    assert any("repeats itself" in said for said in record["notes"])


def test_bars_are_as_long_as_what_they_stand_for() -> None:
    one = made()
    dense, slim = one.sides
    half = replace(slim, seconds=dense.seconds / 2, bytes_on_disk=dense.bytes_on_disk // 4)
    page = comparison_html(replace(one, sides=(dense, half)))
    found = re.findall(r'ws-bar-(dense|slim)" style="width:([\d.]+)%', page)
    assert found == [("dense", "100.0"), ("slim", "50.0"), ("dense", "100.0"), ("slim", "25.0")]


class _Addresses(HTMLParser):
    """Every address that a page would ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_an_exported_page_needs_nothing_else(tmp_path: Path) -> None:
    one = made(SAID)
    page = write_page(one, CLIP.read_bytes(), tmp_path / "out")
    record = write_record(one, tmp_path / "out")
    html = page.read_text("utf-8")
    parser = _Addresses()
    parser.feed(html)
    assert [address[:16] for address in parser.found] == ["data:audio/flac;"]
    assert "script" not in parser.tags and "link" not in parser.tags and "i" in parser.tags
    assert set(re.findall(r"url\((.{5})", html)) == {"data:"}
    kept = json.loads(record.read_text("utf-8"))
    assert kept["sides"][1]["text"] == one.sides[1].text and kept["reference"] == SAID


# --- on the page ------------------------------------------------------------------------------


def test_shown_with_buttons_and_files(history: History, shown: ResultFields) -> None:
    one = made()
    history.save(one, CLIP, 120.0)
    given = results.updates(shown, history, one)
    assert given.keys() <= set(shown.outputs())
    assert given[shown.key] == one.key and "data:audio/flac" in given[shown.result]
    assert [given[button]["value"] for button in (shown.first, shown.same, shown.second)] == [
        "Dense heard it better", "Both the same", "Slim heard it better",
    ]  # fmt: skip
    files = (shown.files, shown.page.button, shown.record.button)
    assert all(given[each]["visible"] for each in files)
    listed = given[shown.earlier]
    assert listed["value"] == one.key and "my-run" in listed["choices"][0][0]


def test_a_deleted_comparison_leaves_the_page(history: History, shown: ResultFields) -> None:
    given = results.updates(shown, history, None)
    assert given.keys() <= set(shown.outputs())
    assert given[shown.key] == "" and "Nothing compared yet" in given[shown.result]
    assert not given[shown.votes]["visible"] and not given[shown.files]["visible"]


def test_hidden_sides_offer_no_files(history: History, shown: ResultFields, tmp_path: Path) -> None:
    given = results.keep(shown, history, made(), str(CLIP), blind=True)
    files = (shown.page.button, shown.record.button)
    assert given[shown.votes]["visible"] and not any(given[each]["visible"] for each in files)
    assert given[shown.first]["value"] == "A heard it better"
    hidden = history.find(given[shown.key])
    for write in (
        lambda: write_page(hidden, b"", tmp_path),
        lambda: write_record(hidden, tmp_path),
    ):
        with pytest.raises(UsageError, match="vote first"):
            write()
    history.vote(hidden.key, "B")
    after = results.updates(shown, history, history.find(hidden.key))
    assert not after[shown.votes]["visible"] and all(after[each]["visible"] for each in files)


def test_what_cannot_be_kept_is_shown_but_not_voted_on(
    history: History, shown: ResultFields, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr(results, "warn", warned.append)
    history.runs.mkdir()
    history.folder.write_text("in the way")
    given = results.keep(shown, history, made(), str(CLIP), blind=False)
    assert "ws-transcript" in given[shown.result] and given[shown.key] == ""
    assert not given[shown.votes]["visible"] and not given[shown.files]["visible"]
    assert len(warned) == 1
    with pytest.raises(RunError):
        results.keep(shown, history, made(), str(CLIP), blind=True)


def test_sides_are_plain_values() -> None:
    assert all(isinstance(side, HeardSide) for side in made().sides)
