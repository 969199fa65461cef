"""A whole folder compared: which clips, what becomes of each, what the totals say."""

import json
import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from whisperslim.errors import AudioError, DataError, ExportError, UsageError
from whisperslim.jobs.scoring import origin
from whisperslim.ui.compare import folder_panel
from whisperslim.ui.compare.folder import (
    BatchCompare,
    BatchState,
    Clip,
    check_source,
    clip_of,
    clips_of,
)
from whisperslim.ui.compare.folder_panel import batch_html
from whisperslim.ui.context.side_choice import SideChoice
from whisperslim.ui.guard.folders import Folders

SIDES = (SideChoice("base", "30s"), SideChoice("/runs/x/slim"))
NAMES = ("base", "my <run>")


def admit_in(folder: Path) -> Any:
    return Folders((folder.resolve(),)).admit


def heard(dense: str, slim: str) -> Any:
    """What an engine gives: 3 s of sound, 0.6 s of work dense, 0.2 s slim."""

    def side(said: str, seconds: float) -> SimpleNamespace:
        return SimpleNamespace(
            transcript=SimpleNamespace(text=said, audio_seconds=3.0, seconds=seconds)
        )

    return SimpleNamespace(dense=side(dense, 0.6), slim=side(slim, 0.2))


def run_all(batch: BatchCompare, clips: list[Clip]) -> BatchState:
    batch.start(NAMES, SIDES, "/folder", clips, "hi")
    wait_for_the_work()
    state = batch.look()
    assert state is not None and not state.running
    return state


def wait_for_the_work() -> None:
    for thread in threading.enumerate():
        if thread.name == "folder":
            thread.join(30)


# --- which clips ------------------------------------------------------------------------------


def test_a_bare_folder_gives_its_sound_files(tmp_path: Path) -> None:
    for name in ("b.wav", "a.OGG", "notes.md", "c.mp3"):
        (tmp_path / name).write_bytes(b"x")
    clips = clips_of(str(tmp_path), 2, admit_in(tmp_path))
    assert [(clip.key, clip.reference) for clip in clips] == [("a.OGG", None), ("b.wav", None)]


def test_a_manifest_gives_texts_and_splits(tmp_path: Path) -> None:
    rows = ["path\ttext\tsplit", "1.wav\tएक\ttrain", "2.wav\tदो\ttest"]
    (tmp_path / "manifest.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    (clip,) = clips_of(f"{tmp_path}#test", 20, admit_in(tmp_path))
    assert (clip.key, clip.reference) == ("2.wav", "दो")
    assert len(clips_of(str(tmp_path / "manifest.tsv"), 20.0, admit_in(tmp_path))) == 2


def test_a_clip_is_found_again_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        (folder / name).write_bytes(b"x")
    batch = BatchCompare(lambda *given: heard("एक", "एक"), tmp_path / "kept")
    batch.start(NAMES, SIDES, str(folder), clips_of(str(folder), 20, admit_in(folder)), "hi")
    wait_for_the_work()
    assert clip_of(batch.look(), "b.wav", admit_in(folder)).path == folder / "b.wav"
    for state, key in ((None, "b.wav"), (batch.look(), "../b.wav"), (batch.look(), None)):
        with pytest.raises(UsageError, match="not in the folder"):
            clip_of(state, key, admit_in(folder))
    (folder / "b.wav").unlink()
    with pytest.raises(UsageError, match="not in the folder"):
        clip_of(batch.look(), "b.wav", admit_in(folder))


def test_nothing_outside_is_heard(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "secret.wav").write_bytes(b"x")
    (inside / "link.wav").symlink_to(tmp_path / "secret.wav")
    with pytest.raises(UsageError, match="not in a folder that the page may open"):
        clips_of(str(inside), 20, admit_in(inside))
    (inside / "manifest.tsv").write_text("path\ttext\n../secret.wav\tएक\n", "utf-8")
    with pytest.raises(UsageError, match="not in a folder that the page may open"):
        clips_of(str(inside), 20, admit_in(inside))
    with pytest.raises(UsageError, match="not in a folder that the page may open"):
        clips_of(f"{tmp_path}#x", 20, admit_in(inside))


@pytest.mark.parametrize("most", [0, -1, 501, None, "5", True, float("nan"), float("inf")])
def test_counts_that_are_none(tmp_path: Path, most: Any) -> None:
    with pytest.raises(UsageError, match="from 1 to 500"):
        clips_of(str(tmp_path), most, admit_in(tmp_path))


@pytest.mark.parametrize("source", [None, "", "  ", 3, "x" * 5000, "hub:a/b#test"])
def test_sources_that_are_none(source: Any) -> None:
    with pytest.raises(UsageError):
        check_source(source)


def test_empty_and_missing_folders_are_reported(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing"):
        with pytest.raises(DataError):
            clips_of(str(tmp_path / name), 20, admit_in(tmp_path))


# --- at work ----------------------------------------------------------------------------------


def test_every_clip_is_heard_and_a_bad_one_is_passed_over(tmp_path: Path) -> None:
    asked: list[tuple[Any, ...]] = []

    def listen(*given: Any) -> Any:
        asked.append(given)
        if given[2].endswith("bad.wav"):
            raise AudioError("no <sound>")
        return heard("मेरा घर बड़ा है", "मेरा घर बड़े है")

    clips = [Clip(f"{n}.wav", Path(f"/{n}.wav"), "मेरा घर बड़ा है") for n in ("a", "bad", "c")]
    state = run_all(BatchCompare(listen, tmp_path), clips)
    assert asked[0] == (*SIDES, "/a.wav", "hi", "मेरा घर बड़ा है")
    assert [row.problem for row in state.rows] == ["", "no <sound>", ""]
    kept = json.loads(state.path.read_text("utf-8"))
    assert kept["compared"] == 3 and kept["rows"][2]["slim"] == "मेरा घर बड़े है"
    page = batch_html(state)
    # Two clips of four words: dense 0 of 8 wrong, slim 2 of 8.
    assert "25.0 %" in page and "0.0 %" in page and "0 / 1" in page
    assert "3 of 3 clips" in page and "same text for 0 of 2" in page
    assert "1.2 s" in page and "0.4 s" in page
    assert "<sound>" not in page and "my <run>" not in page


def test_without_texts_only_the_difference_counts(tmp_path: Path) -> None:
    state = run_all(
        BatchCompare(lambda *given: heard("एक", "एक"), tmp_path), [Clip("a", Path("/a"))]
    )
    page = batch_html(state)
    assert (
        "No clip has a reference text" in page
        and "same text for 1 of 1" in page
        and "WER" not in page
    )


def test_the_set_is_judged_by_the_rules_of_the_verdict(tmp_path: Path) -> None:
    said, urdu, wrong = "मेरा घर बड़ा है", "میرا گھر بڑا ہے", "नहीं " * 9
    texts = {f"/{n}.wav": (urdu, wrong) for n in range(3)}
    clips = [Clip(str(n), Path(f"/{n}.wav"), said) for n in range(3)]
    state = run_all(BatchCompare(lambda *given: heard(*texts[given[2]]), tmp_path), clips)
    page = batch_html(state)
    assert "WER as written" in page and "WER after transliteration, at most" in page
    assert "has to guess the short vowels" in page
    assert "Arabic (Urdu) script" in page and "3 of 3 transcripts repeat themselves" in page
    assert "3.0× faster" in page  # 0.6 s against 0.2 s a clip


def test_clips_that_trained_a_model_are_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = clips_on_disk(tmp_path, 2)
    clips[1].path.write_bytes(b"another")
    taught = {SIDES[1].path: origin.TrainingClips((clips[0].path,))}
    monkeypatch.setattr(
        origin, "training_clips", lambda path: taught.get(path, origin.TrainingClips())
    )
    state = run_all(BatchCompare(lambda *given: heard("एक", "दो"), tmp_path / "runs"), clips)
    assert [row.trained for row in state.rows] == [("slim",), ()]
    page = batch_html(state)
    assert "slim: this clip was used to train it." in page
    assert "slim: 1 of 2 clips were used to train it" in page and "dense: 1 of 2" not in page
    again = BatchCompare(lambda *given: heard("एक", "दो"), tmp_path / "runs").look()
    assert again is not None and again.rows == state.rows
    rows = json.loads(state.path.read_text("utf-8"))["rows"]
    del rows[0]["trained"]  # as earlier versions wrote it
    record = {**json.loads(state.path.read_text("utf-8")), "rows": rows}
    state.path.write_text(json.dumps(record), "utf-8")
    earlier = BatchCompare(lambda *given: heard("एक", "दो"), tmp_path / "runs").look()
    assert earlier is not None and earlier.rows[0].trained == ()


def test_stop_ends_after_the_clip_at_work(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def listen(*given: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return heard("एक", "दो")

    batch = BatchCompare(listen, tmp_path)
    batch.stop()
    clips = [Clip(str(n), Path(f"/{n}")) for n in range(5)]
    batch.start(NAMES, SIDES, "/folder", clips, "hi")
    assert begun.wait(30)
    with pytest.raises(UsageError, match="being compared"):
        batch.start(NAMES, SIDES, "/folder", clips, "hi")
    batch.stop()
    go_on.set()
    wait_for_the_work()
    state = batch.look()
    assert state is not None and len(state.rows) == 1 and not state.running
    assert "1 of 5 clips, stopped" in batch_html(state)


def test_stop_gives_up_a_clip_that_hangs(tmp_path: Path) -> None:
    begun, given_up = threading.Event(), threading.Event()
    asked: list[Any] = []

    def listen(*given: Any) -> Any:
        if given[2] == "/0":
            return heard("एक", "दो")
        begun.set()
        assert given_up.wait(30)
        raise ExportError("it was stopped at work")

    def give_up(*given: Any) -> None:
        asked.append(given)
        given_up.set()

    batch = BatchCompare(listen, tmp_path, give_up)
    batch.start(NAMES, SIDES, "/folder", [Clip(str(n), Path(f"/{n}")) for n in range(3)], "hi")
    assert begun.wait(30)
    batch.stop()
    wait_for_the_work()
    assert asked == [("/1", *SIDES)]
    state = batch.look()
    assert state is not None and [row.key for row in state.rows] == ["0"] and not state.running


def test_a_disk_that_takes_nothing_ends_it_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "folders").write_text("in the way")
    state = run_all(
        BatchCompare(lambda *given: heard("एक", "एक"), tmp_path), [Clip("a", Path("/a"))]
    )
    assert "cannot be written to" in state.problem and "cannot be written to" in batch_html(state)


# --- an app that ended ------------------------------------------------------------------------


@dataclass
class Listener:
    """Counts what is asked of it; refuses the clips of `bad`."""

    bad: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def __call__(self, dense: Any, slim: Any, path: str, language: str, said: Any) -> Any:
        self.asked.append(Path(path).name)
        if Path(path).name in self.bad:
            raise AudioError("no sound")
        return heard("एक", "दो")


def clips_on_disk(folder: Path, count: int) -> list[Clip]:
    paths = [folder / f"{number}.wav" for number in range(count)]
    for path in paths:
        path.write_bytes(b"x")
        os.utime(path, (1e9, 1e9))
    return [Clip(path.name, path) for path in paths]


def broken_off(folder: Path, clips: list[Clip]) -> BatchState:
    """What an app leaves that ended after two of the clips, the second of which had no sound."""
    state = run_all(BatchCompare(Listener({"1.wav"}), folder / "runs"), clips[:2])
    record = {**json.loads(state.path.read_text("utf-8")), "total": len(clips)}
    state.path.write_text(json.dumps(record), "utf-8")
    return state


def test_the_next_app_shows_what_was_heard_and_goes_on_with_the_rest(tmp_path: Path) -> None:
    clips = clips_on_disk(tmp_path, 4)
    before = broken_off(tmp_path, clips)
    listener = Listener()
    batch = BatchCompare(listener, tmp_path / "runs")
    found = batch.look()
    assert found is not None and not found.running and found.rows == before.rows
    assert "continues with the rest" in batch_html(found)
    state = run_all(batch, clips)
    assert listener.asked == ["1.wav", "2.wav", "3.wav"], "0.wav was heard; 1.wav is tried again"
    assert [row.key for row in state.rows] == ["0.wav", "1.wav", "2.wav", "3.wav"]
    assert state.path == before.path and json.loads(state.path.read_text("utf-8"))["compared"] == 4
    run_all(batch, clips)
    assert len(listener.asked) == 7, "a complete one is begun again"


@pytest.mark.parametrize("changed", ["model", "recording", "names"])
def test_what_has_changed_is_heard_anew(tmp_path: Path, changed: str) -> None:
    clips = clips_on_disk(tmp_path, 3)
    before = broken_off(tmp_path, clips)
    later = before.path.stat().st_mtime + 5
    slim = tmp_path / "slim"
    slim.mkdir()
    sides = (SIDES[0], SideChoice(str(slim)))
    record = json.loads(before.path.read_text("utf-8"))
    record["sides"][1]["path"] = str(slim)
    before.path.write_text(json.dumps(record), "utf-8")
    os.utime(slim, (1e9, 1e9))
    if changed == "model":
        (slim / "model.safetensors").write_bytes(b"new")
        os.utime(slim / "model.safetensors", (later, later))
    if changed == "recording":
        os.utime(clips[2].path, (later, later))
    listener = Listener()
    batch = BatchCompare(listener, tmp_path / "runs")
    names = ("base", "another") if changed == "names" else NAMES
    batch.start(names, sides, "/folder", clips, "hi")
    wait_for_the_work()
    assert listener.asked == ["0.wav", "1.wav", "2.wav"]


def test_a_clip_whose_text_has_changed_is_heard_anew(tmp_path: Path) -> None:
    clips = [replace(clip, reference="एक") for clip in clips_on_disk(tmp_path, 4)]
    broken_off(tmp_path, clips)
    corrected = [replace(clips[0], reference="दो"), *clips[1:]]
    listener = Listener()
    state = run_all(BatchCompare(listener, tmp_path / "runs"), corrected)
    assert "0.wav" in listener.asked
    assert {row.key: row.reference for row in state.rows}["0.wav"] == "दो"
    assert len(state.rows) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"rows": [{"key": 3}]},
        {"rows": 5},
        {"total": "four"},
        {"sides": []},
        {"names": ["one"]},
        {"sides": [{"path": 1}, {}]},
    ],
)
def test_a_record_that_is_none_is_passed_over(tmp_path: Path, change: dict[str, Any]) -> None:
    before = broken_off(tmp_path, clips_on_disk(tmp_path, 3))
    damaged = {**json.loads(before.path.read_text("utf-8")), **change}
    newer = before.path.with_name("30000101-000000.json")
    newer.write_text(json.dumps(damaged), "utf-8")
    newer.with_name("40000101-000000.json").write_bytes(b"\xff{")
    found = BatchCompare(Listener(), tmp_path / "runs").look()
    assert found is not None and found.path == before.path


def test_the_page_is_drawn_only_when_something_is_new(tmp_path: Path) -> None:
    state = run_all(
        BatchCompare(lambda *given: heard("एक", "एक"), tmp_path), [Clip("a", Path("/a"))]
    )
    with gr.Blocks():
        panel = folder_panel.lay_out_panel()
    given = folder_panel.updates(panel, state, None)
    assert given.keys() == set(panel.outputs())
    assert "1 of 1 clips" in given[panel.result] and given[panel.record.button]["visible"]
    assert folder_panel.updates(panel, state, given[panel.drawn]) == gr.skip()
    assert folder_panel.updates(panel, None, None) == gr.skip()
