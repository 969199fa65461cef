"""The Models tab's handlers: what is listed, found, put to use, deleted and fetched."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.support.app.fake_app import Acts, fake_app
from tests.support.models.shelf import export_folder, model_folder, slim_run
from whisperslim import boxed
from whisperslim.engines import registry
from whisperslim.errors import RunError, SourceError, UsageError, WhisperSlimError
from whisperslim.jobs.models.fetching import FETCH, Fetching
from whisperslim.jobs.models.inventory import ModelEntry, inventory
from whisperslim.jobs.process.background import Owner
from whisperslim.machine import offline
from whisperslim.ui.compare.fields import CompareTab, lay_out_compare
from whisperslim.ui.compare.tab import engine_updates
from whisperslim.ui.context.choices import chosen_model, dense_choices, slim_names
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.side_choice import SideChoice
from whisperslim.ui.context.sides import dense_side
from whisperslim.ui.models import tab as models_tab
from whisperslim.ui.models.card import fetch_html, model_card, model_label
from whisperslim.ui.models.tab import ModelsTab, find, key_of, lay_out_models, name_in_compare

RUN = "20260101-000000-a"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppContext:
    """A run with an export, and a fetched model beside the one that is always offered."""
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(boxed, "BOXED", ())
    run = slim_run(tmp_path / "runs", RUN)
    export_folder(run.path / "export" / "onnx-int8", run.name)
    model_folder(tmp_path / "cache" / "models" / "someone--whisper-tiny")
    return fake_app(run.path.parent, Acts())


@pytest.fixture
def tabs(app: AppContext) -> Iterator[tuple[ModelsTab, CompareTab]]:
    with gr.Blocks():
        yield lay_out_models(), lay_out_compare(app)


def by_kind(app: AppContext) -> list[ModelEntry]:
    found = inventory(app.runs)
    assert [entry.kind for entry in found] == ["slim model", "export", "download"]
    return found


def test_every_model_is_a_row_and_the_empty_page_leads_on(
    app: AppContext, tabs: tuple[ModelsTab, CompareTab]
) -> None:
    tab = tabs[0]
    found = by_kind(app)
    updates = models_tab.see(tab, found, key_of(found[1]))
    shown = updates[tab.choice]
    assert [key for _, key in shown["choices"]] == [key_of(entry) for entry in found]
    assert shown["value"] == f"export/{RUN}/onnx-int8" and shown["visible"]
    assert not updates[tab.nothing]["visible"] and updates[tab.delete]["visible"]
    gone = models_tab.see(tab, found, "export/none")
    assert gone[tab.choice]["value"] is None and not gone[tab.as_slim]["visible"]
    nothing = models_tab.see(tab, [], None)
    assert nothing[tab.nothing]["visible"] and not nothing[tab.choice]["visible"]
    assert "Try it" in nothing[tab.nothing]["value"]


def test_until_the_list_is_read_the_page_does_not_say_that_there_are_none(
    tabs: tuple[ModelsTab, CompareTab],
) -> None:
    first = tabs[0].nothing.value
    assert "Reading the models" in first and "No models" not in first


def test_a_row_has_the_facts_and_a_card_all_of_them(app: AppContext) -> None:
    slim, export, _ = by_kind(app)
    line = model_label(slim)
    for fact in (RUN, "slim model", "MB", "PyTorch fp16", "Hindi (hi)", "WER 25.0 %"):
        assert fact in line, fact
    card = model_card(slim)
    for fact in ("25.0 % on corpus#test", "n = 12", "hindi-1", "openai/whisper-base, untuned"):
        assert fact in card, fact
    assert "ONNX Runtime int8" in model_card(export) and "not scored" in model_card(export)


def test_a_damaged_model_is_a_row_with_the_reason(
    app: AppContext, tabs: tuple[ModelsTab, CompareTab]
) -> None:
    tab = tabs[0]
    slim = by_kind(app)[0]
    (slim.path / "config.json").write_text('{"model_type": "<b>bert</b>"}')
    slim = inventory(app.runs)[0]
    assert "cannot be used: models of type" in model_label(slim)
    assert "&lt;b&gt;bert" in model_card(slim) and "<b>bert" not in model_card(slim)
    updates = models_tab.show(tab, slim)
    assert not updates[tab.as_slim]["visible"] and updates[tab.delete]["visible"]


@pytest.mark.parametrize(
    "key", [None, "", 3, ["x"], "slim model/../..", f"slim model/{RUN}/../..", "/etc", "\0"]
)
def test_only_a_model_of_the_list_is_found(app: AppContext, key: Any) -> None:
    with pytest.raises(UsageError, match="choose one from the list"):
        find(app, key)


def test_a_model_that_lies_elsewhere_is_not_touched(
    app: AppContext, tmp_path: Path, tabs: tuple[ModelsTab, CompareTab]
) -> None:
    """A run that somebody sent may hold a link to anywhere."""
    away = model_folder(tmp_path.parent / f"{tmp_path.name}-away" / ".hidden" / "m")
    (app.runs / RUN / "export" / "mine").symlink_to(away)
    with pytest.raises(UsageError, match="folder that the page may open"):
        models_tab.press(tabs[0], app, f"export/{RUN}/mine", "")
    assert away.is_dir()


def test_each_model_can_be_either_side_of_a_comparison(
    app: AppContext, tabs: tuple[ModelsTab, CompareTab]
) -> None:
    compare = tabs[1]
    slim, export, download = by_kind(app)
    assert name_in_compare(slim, slim_names(app)) == RUN
    for entry in (slim, export, download):
        name = name_in_compare(entry, slim_names(app))
        assert chosen_model(app, name)
        engines = engine_updates(compare, app, name, registry.OWN)[compare.slim_engine]
        assert engines["choices"] and engines["value"]
    dense = [value for _, value in dense_choices(app)]
    assert dense.index("openai/whisper-base") < dense.index("someone/whisper-tiny")
    assert name_in_compare(download, dense) == "someone/whisper-tiny"
    assert dense_side(app, "someone/whisper-tiny", registry.OWN, "30s").path == download.name
    made = dense_side(app, name_in_compare(export, dense), registry.OWN, "30s")
    assert (made.engine, made.quantize) == ("onnx", "int8")


def test_delete_asks_first(app: AppContext, tabs: tuple[ModelsTab, CompareTab]) -> None:
    tab = tabs[0]
    slim, export, download = (key_of(entry) for entry in by_kind(app))
    asked = models_tab.press(tab, app, slim, "")
    assert "and its run for good" in asked[tab.delete]["value"] and asked[tab.sure] == slim
    assert "Press again" in models_tab.press(tab, app, download, slim)[tab.delete]["value"]
    assert len(inventory(app.runs)) == 3, "nothing went: another one was asked about"
    with gr.Blocks():
        left = models_tab.press(tab, app, download, download)
    assert [key for _, key in left[tab.choice]["choices"]] == [slim, export]
    models_tab.press(tab, app, slim, slim)
    assert inventory(app.runs) == []


def test_what_is_being_compared_stays(app: AppContext) -> None:
    slim, export, download = by_kind(app)
    for used, entry in ((slim.path, slim), (export.path, slim), (download.name, download)):
        with (
            app.listening.holding([SideChoice(str(used))]),
            pytest.raises(RunError, match="is being compared"),
        ):
            models_tab.delete(app, entry)
    models_tab.delete(app, export)
    assert len(inventory(app.runs)) == 2


def test_a_fetch_is_a_command_and_offline_it_is_refused(
    app: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, list[str]]] = []

    def command(owner: Owner, name: str, arguments: Sequence[str]) -> int:
        asked.append((name, list(arguments)))
        return 1

    acting = replace(app, command=command)
    monkeypatch.delenv(offline.VARIABLE, raising=False)
    models_tab.start_fetch(acting, "openai/whisper-tiny")
    assert asked == [(FETCH, [FETCH, "openai/whisper-tiny"])]
    for name in ("/etc/passwd", "--help", None):
        with pytest.raises(WhisperSlimError):
            models_tab.start_fetch(acting, name)
    monkeypatch.setenv(offline.VARIABLE, "1")
    with pytest.raises(SourceError, match="Here without a network: someone/whisper-tiny"):
        models_tab.start_fetch(acting, "openai/whisper-tiny")
    assert len(asked) == 1


def test_a_fetch_is_shown_at_work_done_and_failed() -> None:
    assert fetch_html(Fetching(), "") == ""
    at_work = fetch_html(Fetching("a/b", True, "asking\nmodel: 45 % of 2 MB", 0.45), "")
    assert 'aria-valuenow="45"' in at_work and "45 % of 2 MB" in at_work
    failed = fetch_html(Fetching("a/b", False, "asking\nerror: cannot <get>"), "Here: x.")
    assert "cannot &lt;get&gt;" in failed and "Here: x." in failed and "asking" not in failed
    assert "a/b is here" in fetch_html(Fetching("a/b", False, "/cache/a--b"), "")
