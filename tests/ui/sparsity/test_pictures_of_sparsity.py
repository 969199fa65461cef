"""The replay of a run and the waterfall of its bytes, against arithmetic by hand."""

import html
import json
import re
from pathlib import Path

import gradio as gr
import pytest

from tests.support.runs.fake_runs import finish, make_groups, make_run, write_plan
from whisperslim import events
from whisperslim.core.cost.report import CostReport, CostRow
from whisperslim.jobs.report.bytes import ByteStep, WeightsFile, byte_steps, dense_file
from whisperslim.jobs.report.sparsity import MOST_FRAMES, sparsity_frames, thinned
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.planned import read_planned
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.sparsity import story
from whisperslim.ui.sparsity.story import byte_figure, bytes_words, percent_words, replay_html
from whisperslim.ui.sparsity.tab import lay_out_sparsity

HEADS, FFN = "encoder.0.self_attn.heads", "encoder.0.ffn"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return make_run(tmp_path / "runs")


def measured(run: RunDir, stage: str, step: int, dead: float, zero: float) -> None:
    event = events.SparsityMeasured(stage, step, {HEADS: dead, FFN: 0.0}, {HEADS: zero, FFN: 0.0})
    EventLog(run.events_path).append(event)


# --- replay -----------------------------------------------------------------------------------


def test_frames_are_shares_of_the_model_before_the_run(run: RunDir) -> None:
    measured(run, "tune", 20, 0.25, 0.3)
    measured(run, "tune", 40, 0.5, 0.6)
    measured(run, "recover", 10, 0.0, 0.2)
    frames = sparsity_frames(run, {HEADS: 0.5, FFN: 1.0})
    assert [(f.stage, f.step) for f in frames] == [
        ("before", 0), ("tune", 20), ("tune", 40), ("cut", 40), ("recover", 10)
    ]  # fmt: skip
    assert [f.gone[HEADS] for f in frames] == [0.0, 0.25, 0.5, 0.5, 0.5]
    # Of the half that is left a fifth is zero: 0.5 + 0.5 * 0.2.
    assert [f.zero[HEADS] for f in frames] == pytest.approx([0.0, 0.3, 0.6, 0.6, 0.6])
    assert {f.gone[FFN] for f in frames} == {0.0}


def test_a_group_cut_out_whole_stays_gone(run: RunDir) -> None:
    event = events.SparsityMeasured("recover", 5, {FFN: 0.1}, {FFN: 0.1})
    EventLog(run.events_path).append(event)
    assert sparsity_frames(run, {HEADS: 0.0, FFN: 1.0})[-1].gone == {HEADS: 1.0, FFN: 0.1}


def test_steps_done_again_after_a_crash_count_once(run: RunDir) -> None:
    for step, dead in ((10, 0.1), (20, 0.2), (30, 0.3), (20, 0.25), (30, 0.35)):
        measured(run, "tune", step, dead, dead)
    tuned = [f for f in sparsity_frames(run, {HEADS: 1.0}) if f.stage == "tune"]
    assert [(f.step, f.gone[HEADS]) for f in tuned] == [(10, 0.1), (20, 0.25), (30, 0.35)]


def test_without_measurements_there_is_before_and_after(run: RunDir) -> None:
    frames = sparsity_frames(run, {HEADS: 0.25})
    assert [(f.stage, f.gone[HEADS]) for f in frames] == [("before", 0.0), ("cut", 0.75)]


def test_a_long_run_is_thinned(run: RunDir) -> None:
    for stage in ("tune", "recover"):
        for step in range(1, 301):
            measured(run, stage, step, step / 300, 0.0)
    frames = sparsity_frames(run, {HEADS: 0.5, FFN: 1.0})
    assert len(frames) == MOST_FRAMES
    assert frames[-1].step == 300 and [f for f in frames if f.stage == "tune"][-1].step == 300
    steps = [f.step for f in frames if f.stage == "tune"]
    assert steps == sorted(set(steps))


def test_thinning_keeps_the_last() -> None:
    numbers = list(range(10))
    assert thinned(numbers, 3)[-1] == 9  # type: ignore[arg-type,comparison-overlap]
    assert thinned(numbers, 99) == numbers  # type: ignore[arg-type,comparison-overlap]
    assert thinned(numbers, 0) == []  # type: ignore[arg-type]


def test_the_page_holds_every_moment_and_shows_the_last(run: RunDir) -> None:
    measured(run, "tune", 20, 0.25, 0.3)
    page = replay_html(sparsity_frames(run, {HEADS: 0.5, FFN: 1.0}))
    found = re.search(r'data-frames="([^"]*)"', page)
    assert found is not None
    data = json.loads(html.unescape(found.group(1)))
    assert data["names"] == ["before this run", "tune, step 20", "after the cut"]
    assert data["gone"] == [[0.0, 0.0], [0.25, 0.0], [0.5, 0.0]]
    cell = re.search(rf'data-key="{re.escape(HEADS)}"[^>]*>([^<]*)<', page)
    assert cell is not None and cell.group(1) == "50"


def test_a_method_that_cuts_at_once_says_why_nothing_moved_before(run: RunDir) -> None:
    said = "Nothing is zero until the cut"
    measured(run, "tune", 20, 0.0, 0.0)
    assert said in replay_html(sparsity_frames(run, {HEADS: 0.5, FFN: 1.0}))
    measured(run, "tune", 30, 0.0, 0.3)
    assert said not in replay_html(sparsity_frames(run, {HEADS: 0.5, FFN: 1.0}))


def test_what_moves_before_the_cut_is_shown_first(run: RunDir) -> None:
    first = r'ws-replay-shown"[^>]*><option value="(\w+)"'
    # Weights become zero and no unit is all zero: of the units, nothing would be seen to move. What
    # is measured after the cut, when half of the units are gone, does not count.
    measured(run, "tune", 20, 0.0, 0.3)
    measured(run, "recover", 10, 0.0, 0.2)
    page = replay_html(sparsity_frames(run, {HEADS: 0.5, FFN: 1.0}))
    assert re.findall(first, page) == ["zero"]
    cell = re.search(rf'data-key="{re.escape(HEADS)}"[^>]*>([^<]*)<', page)
    assert cell is not None and cell.group(1) == "60"  # half, and a fifth of the other half
    measured(run, "tune", 20, 0.1, 0.3)
    page = replay_html(sparsity_frames(run, {HEADS: 0.5, FFN: 1.0}))
    assert re.findall(first, page) == ["gone"]


def test_recovery_does_not_hide_that_nothing_moved_before_the_cut(run: RunDir) -> None:
    measured(run, "tune", 20, 0.0, 0.0)
    measured(run, "recover", 10, 0.0, 0.2)
    page = replay_html(sparsity_frames(run, {HEADS: 0.5, FFN: 1.0}))
    assert "Nothing is zero until the cut" in page


def test_names_of_groups_cannot_become_markup(run: RunDir) -> None:
    key = 'encoder.0.<img src=x onerror="1">'
    assert "<img" not in replay_html(sparsity_frames(run, {key: 0.5}))


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "0"), (0.001, "<1"), (0.5, "50"), (0.9999, ">99"), (1.0, "100"), (0.126, "13")],
)
def test_percent(share: float, said: str) -> None:
    assert percent_words(share) == said


# --- bytes ------------------------------------------------------------------------------------


def report(*rows: CostRow, bytes_on_disk: int, sparse_saved: int = 0) -> CostReport:
    """A model of 1000 numbers before the rows' were removed."""
    removed = sum(row.removed for row in rows)
    return CostReport("slim", rows, 1000 - removed, 1000, 800, removed, removed, 0, bytes_on_disk,
                      sparse_saved, 9999, 2000, "float16", (), "")  # fmt: skip


def row(kind: str, removed: int, units: int = 1) -> CostRow:
    return CostRow(f"encoder.0.{kind}", kind, "encoder", 10, removed, 0, units, 4, 0, 0)


ROWS = (row("heads", 100), row("ffn", 200), row("ffn", 50, units=0), row("embeddings", 150))


def test_steps_add_up_from_the_dense_file_to_the_slim_one() -> None:
    slim = report(*ROWS, bytes_on_disk=960, sparse_saved=60)
    steps = byte_steps(slim, WeightsFile(4040, 1000, 4))
    assert [(step.label, step.bytes) for step in steps] == [
        ("dense", 4040),
        ("vocabulary", -600),
        ("heads", -400),
        ("FFN", -800),
        ("whole layers", -200),
        ("precision", -1020),  # 2040 bytes are left and 960 + 60 were written
        ("zeros as bits", -60),
        ("slim", 960),
    ]
    assert sum(step.bytes for step in steps[:-1]) == steps[-1].bytes


@pytest.mark.parametrize("dense", [None, WeightsFile(4040, 1234, 4)])
def test_without_the_dense_file_the_slim_format_counts(dense: WeightsFile | None) -> None:
    steps = byte_steps(report(*ROWS, bytes_on_disk=1000), dense)
    labels = [step.label for step in steps]
    assert labels == ["dense", "vocabulary", "heads", "FFN", "whole layers", "slim"]
    assert steps[0].bytes == 2000 and steps[2].bytes == -200


@pytest.mark.parametrize("base", ["", "no/such-model", "../..", "/no/such/folder"])
def test_a_dense_model_that_is_not_here_is_none(base: str) -> None:
    assert dense_file(base) is None


STEPS = (
    ByteStep("dense", 290_000_000, total=True),
    ByteStep("heads", -90_000_000),
    ByteStep("file header", 20_000),
    ByteStep("slim", 200_020_000, total=True),
)


def test_the_waterfall_stands_on_files_and_hangs_changes_between() -> None:
    (trace,) = byte_figure(STEPS).data
    assert list(trace.measure) == ["absolute", "relative", "absolute"]
    assert list(trace.y) == [290.0, -90.0, 200.02]
    assert "69 % of it" in bytes_words(STEPS)


# --- the tab ----------------------------------------------------------------------------------


def test_the_story_of_a_run(run: RunDir) -> None:
    write_plan(run, make_groups(), 0.3)
    finish(run)
    (run.slim_path / "model.safetensors").write_bytes(b"")
    context = AppContext(RunWatch(run.path.parent))
    with gr.Blocks() as blocks:
        tab = lay_out_sparsity()
        event = tab.choice.change(lambda: None)
        story.connect_story(tab.story, context, tab.choice, event, measure=lambda path: STEPS)
    tell = list(blocks.fns.values())[-1].fn
    part = tab.story
    given, nothing = tell(run.name), tell("")
    assert given.keys() == nothing.keys() == set(part.outputs())
    assert "after the cut" in given[part.replay] and "69 %" in given[part.said]
    for each in (part.title, part.waterfall):
        assert given[each]["visible"] and not nothing[each]["visible"]
    with pytest.raises(gr.Error):
        tell("../elsewhere")


def test_kept_shares_are_those_of_the_plan(run: RunDir) -> None:
    groups = make_groups()
    write_plan(run, groups, 0.3)
    pruned = read_planned(run)
    kept = story.kept_shares(pruned)
    left = sum(kept[group.key] * group.count * group.weights_per_unit for group in groups)
    every = sum(group.count * group.weights_per_unit for group in groups)
    assert 1 - left / every == pytest.approx(pruned.plan.removed)
