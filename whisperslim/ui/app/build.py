"""How the page is put together and served."""

import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from whisperslim.jobs.process import queue
from whisperslim.jobs.process.queue import Stopping
from whisperslim.listening.address import check_port
from whisperslim.ui.app.leads import connect_leads, lay_out_lead
from whisperslim.ui.app.try_it import connect_try_it
from whisperslim.ui.compare.fields import lay_out_compare
from whisperslim.ui.compare.tab import connect_compare
from whisperslim.ui.compress.tab import (
    CompressTab,
    connect_compress,
    lay_out_compress,
    problem_updates,
    start_run,
)
from whisperslim.ui.context import saved_file
from whisperslim.ui.context.choices import slim_choices, slim_names
from whisperslim.ui.context.context import AppContext, for_people
from whisperslim.ui.context.limits import check_runs
from whisperslim.ui.context.models import MAX_SECONDS
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.context.sides import slim_side
from whisperslim.ui.guard.access import LOCAL, Access
from whisperslim.ui.guard.connections import served_behind
from whisperslim.ui.guard.events import CheckedBlocks, Events
from whisperslim.ui.guard.folders import Folders
from whisperslim.ui.guard.refusals import App
from whisperslim.ui.guard.requests import Gate
from whisperslim.ui.guard.room import UPLOAD_BYTES
from whisperslim.ui.guard.uploads import KEPT_SECONDS, make_own_folder, remove_on_termination
from whisperslim.ui.models.tab import connect_models, lay_out_models
from whisperslim.ui.parts.demo_clips import CLIPS_FOLDER
from whisperslim.ui.parts.theme import ASSETS, COMPARE_SHEET, STYLE_SHEET, page_head, theme
from whisperslim.ui.parts.updates import Updates, Values, unchanged
from whisperslim.ui.record import microphone
from whisperslim.ui.record.desk import FOLDER, RecordingDesk
from whisperslim.ui.record.microphone import ComputerMicrophone
from whisperslim.ui.record.tab import FILLED, connect_record, lay_out_record
from whisperslim.ui.record.tab import STYLE_SHEET as RECORD_SHEET
from whisperslim.ui.runs import actions
from whisperslim.ui.runs.report import report_of
from whisperslim.ui.runs.tab import (
    NOTHING_DRAWN,
    Drawn,
    RunsTab,
    brief,
    first_choice,
    glance_at_runs,
    lay_out_runs,
    look_at_runs,
)
from whisperslim.ui.runs.watch import Latest, lay_out_watch
from whisperslim.ui.sparsity.tab import connect_sparsity, lay_out_sparsity, pruned_names
from whisperslim.ui.tradeoff.tab import connect_tradeoff, lay_out_tradeoff

_HEADER = (
    '<header class="ws-header"><h1>WhisperSlim</h1>'
    "<p>Make a Whisper model smaller and prove that it still hears Hindi.</p>"
    '<button type="button" class="ws-theme" title="Change between light and dark">Dark</button>'
    "</header>"
)
_SCRIPT = ASSETS / "page.js"
_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# Events of all pages that may wait at once. When a run has news, each page that shows it asks: a
# hundred pages and some comparisons fit. Further events are refused at once instead of waiting
# forever.
_MOST_WAITING = 256
_THREADS = 64  # of handlers; comparisons wait in theirs, and others need some meanwhile
_STOPPED = {
    Stopping.LEFT_QUEUE: "It has left the queue and is not started. Resume puts it back.",
    Stopping.ASKED: "Stopping after this step. Press again to stop immediately.",
    Stopping.KILLED: "Stopped. Resume continues from its last checkpoint.",
}
_MOST_PAGES = 1000  # that are remembered; choices of a page that is forgotten are refused


def build(
    runs_folder: Path,
    *,
    open_run: str | None = None,
    context: AppContext | None = None,
    desktop: bool = False,
) -> gr.Blocks:
    """The page for one folder of runs. `context` is for tests, which bring fakes.

    With `desktop`, whoever sees the page may record by this computer's own microphone.
    """
    app = context or AppContext(RunWatch(Path(runs_folder).expanduser().absolute()))

    def first(asked: object = None) -> str:
        return first_tab(app, open_run)

    with CheckedBlocks(
        title="WhisperSlim",
        analytics_enabled=False,
        fill_width=False,
        delete_cache=(KEPT_SECONDS, KEPT_SECONDS),
    ) as blocks:
        gr.HTML(
            "",
            html_template=_HEADER,
            js_on_load=_SCRIPT.read_text("utf-8"),
            server_functions=[first],
        )
        chosen, drawn = gr.State(""), gr.State(NOTHING_DRAWN)
        opens_at = first()
        with gr.Tabs(selected=opens_at, overflow_behavior="wrap") as tabs:
            with gr.Tab("Compress", id="compress"):
                compress = lay_out_compress(app)
            with gr.Tab("Runs", id="runs") as runs_page:
                runs_lead = lay_out_lead("runs", "No run yet: try it first")
                runs = lay_out_runs()
            with gr.Tab("Sparsity", id="sparsity") as sparsity_page:
                run_leads = [(sparsity_page, lay_out_lead("sparsity"))]
                sparsity = lay_out_sparsity()
            with gr.Tab("Trade-off", id="tradeoff") as tradeoff_page:
                run_leads.append((tradeoff_page, lay_out_lead("tradeoff")))
                tradeoff = lay_out_tradeoff()
            with gr.Tab("Compare", id="compare") as compare_page:
                model_leads = [(compare_page, lay_out_lead("compare"))]
                own_microphone = microphone.lay_out("compare") if desktop else None
                compare = lay_out_compare(app)
            with gr.Tab("Models", id="models") as models_page:
                model_leads.append((models_page, lay_out_lead("models")))
                models = lay_out_models()
            with gr.Tab("Record", id="record"):
                record = lay_out_record(desktop=desktop)
        # Models of the project can be compared before there is a run.
        connect_leads([(runs_page, runs_lead)], lambda: bool(app.watch.listed()), tabs)
        connect_leads(run_leads, lambda: bool(pruned_names(app)), tabs)
        connect_leads(model_leads, lambda: bool(slim_names(app)), tabs)
        look_after = connect_compress(compress, app, blocks)
        connect_sparsity(sparsity, app, [sparsity_page.select])
        # The tab that a page opens with is not selected by anybody.
        opened = [compare_page.select, *([blocks.load] if opens_at == "compare" else [])]
        connect_compare(compare, app, opened)
        if own_microphone is not None:
            recorder = ComputerMicrophone(MAX_SECONDS)
            microphone.connect(own_microphone, recorder, blocks, compare.audio)
        filled = {name: compress.form.component(name) for name in FILLED}
        desk = RecordingDesk(app.runs / FOLDER, hear=partial(heard_by_newest, app))
        connect_record(record, desk, blocks, filled, tabs, look_after)
        refresh = _connect_refresh(app, blocks, compress, runs, chosen, drawn, open_run)
        _connect_buttons(app, compress, runs, chosen, tabs, refresh)
        actions.connect(runs.actions, compare, app, chosen, tabs, refresh)
        connect_models(models, compare, app, models_page.select, tabs, refresh)
        connect_try_it(compress.trial, compare, app, blocks, chosen, tabs, refresh)
        connect_tradeoff(tradeoff, app, tradeoff_page.select, chosen, tabs, refresh)
    _show_no_hidden_progress(blocks)
    return blocks


def launch(
    runs_folder: Path,
    *,
    port: int = 7860,
    open_run: str | None = None,
    block: bool = True,
    context: AppContext | None = None,
    access: Access = LOCAL,
    desktop: bool = False,
) -> gr.Blocks:
    """Serve the page, on this computer alone by default. Returns when closed, if `block`.

    Raises `UsageError` when the port is not available, `RunError` when there is no room on disk for
    uploads.
    """
    check_port(access.address, port)
    uploads = make_own_folder()
    if block:
        remove_on_termination()
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Gradio sums up its latest events anew after each one, 10,000 of them, for a page that is not
    # served here.
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
    if context is None:
        watch = RunWatch(Path(runs_folder).expanduser().absolute())
        context = AppContext(watch, folders=access.folders or Folders())
    blocks = build(runs_folder, open_run=open_run, context=context, desktop=desktop)
    blocks.queue(max_size=_MOST_WAITING, default_concurrency_limit=4, api_open=False)
    # Runs may have been waiting when everything ended.
    queue.see_to(Path(runs_folder).expanduser().absolute())
    with served_behind(_front(blocks, access, uploads), access.proxy):
        blocks.launch(
            server_name=access.address,
            server_port=port,
            share=False,
            strict_cors=True,
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
            max_file_size=UPLOAD_BYTES,
            max_threads=_THREADS,
            state_session_capacity=_MOST_PAGES,
            # Our own errors are written for people and are shown; any other only goes to the log.
            show_error=False,
            auth=access.checker,
            auth_message="WhisperSlim: the name and password that --auth was given.",
            ssl_certfile=access.certificate,
            ssl_keyfile=access.key,
            ssl_verify=False,  # of Gradio's call to itself: certificates may be self-signed
            footer_links=[],
            run_history=False,
            # The demo clips only; fonts and styles are inside the page.
            allowed_paths=[str(CLIPS_FOLDER / "audio")],
            theme=theme(),
            css_paths=[STYLE_SHEET, COMPARE_SHEET, RECORD_SHEET],
            head=page_head(),
            prevent_thread_lock=True,
            quiet=not block,
            # Gradio would request its own page, and give up after three seconds: too soon on a
            # machine whose cores are training.
            _frontend=False,
        )
    if block:
        blocks.block_thread()
    return blocks


def heard_by_newest(app: AppContext, recording: str) -> str:
    """What the newest run's model hears in a reading; empty while there is no such run."""
    names = slim_choices(app)
    if not names:
        return ""
    side = replace(slim_side(app, names[0], None), script="own")
    return app.listening.heard(side, recording, "hi")


def first_tab(app: AppContext, open_run: str | None) -> str:
    """Where the page opens: at the run that was asked for, else where models are compared.

    Where there is no slim model, not even one of the project, it opens where one is made.
    """
    if open_run:
        return "runs"
    return "compare" if slim_names(app) else "compress"


def _front(blocks: gr.Blocks, access: Access, uploads: Path) -> Callable[[App], App]:
    return partial(
        Gate,
        hosts=access.hosts,
        any_address=access.any_address,
        uploads=uploads,
        events=Events.of(blocks),
        proxy=access.proxy,
        login=access.login is not None,
    )


def _show_no_hidden_progress(blocks: gr.Blocks) -> None:
    """Name no component for hidden progress.

    Otherwise Gradio notifies every output of every event so far of each change of any event's
    state, and searches for each from the root of the page's tree: seconds of a browser's time at
    the start, and a third of a processor afterwards.
    """
    for function in blocks.fns.values():
        if function.show_progress == "hidden":
            function.show_progress_on = ()


def _connect_refresh(
    app: AppContext,
    blocks: gr.Blocks,
    compress: CompressTab,
    runs: RunsTab,
    chosen: gr.State,
    drawn: gr.State,
    open_run: str | None,
) -> Callable[[Any], None]:
    """News of the runs, a fresh page and a choice in the list all draw the same thing."""
    seen = [compress.current, compress.stop, drawn, *runs.outputs()]

    def draw(name: str, before: Drawn) -> Updates:
        updates, now = look_at_runs(runs, app, name, before)
        if now == before:
            return {}
        card, running = brief(app, name)
        stop = gr.update(interactive=running)
        return {**updates, compress.current: card, compress.stop: stop, drawn: now}

    def look(name: str, before: Drawn) -> Updates:
        return draw(name, before) or unchanged()

    def arrive() -> Updates:
        name = first_choice(app, open_run)
        return {chosen: name, **draw(name, NOTHING_DRAWN)}

    def choose(name: str | None, before: Drawn) -> Updates:
        return {chosen: name or "", **draw(name or "", before)}

    # Each output of an event costs the browser milliseconds, changed or not. So a cheap check comes
    # first, and only the event that follows when there is news has the drawn parts as outputs.
    news = gr.State("")

    def glance(name: str, before: Drawn) -> Updates:
        return unchanged() if glance_at_runs(app, name) == before else {news: secrets.token_hex(8)}

    blocks.load(arrive, None, [chosen, *seen], **_QUIET)
    polled: dict[str, Any] = {"concurrency_id": "poll", "concurrency_limit": 4, **_QUIET}
    watched = lay_out_watch(Latest(lambda name: glance_at_runs(app, name)))
    chosen.change(lambda name: name, chosen, watched, **_QUIET)
    # A change that is reported while a glance is under way is looked at after it.
    watched.submit(glance, [chosen, drawn], news, trigger_mode="always_last", **polled)
    news.change(look, [chosen, drawn], seen, **polled)
    runs.choice.input(choose, [runs.choice, drawn], [chosen, *seen], **_QUIET)
    return lambda event: event.then(look, [chosen, drawn], seen, **_QUIET)


def _connect_buttons(
    app: AppContext,
    compress: CompressTab,
    runs: RunsTab,
    chosen: gr.State,
    tabs: gr.Tabs,
    refresh: Callable[[Any], None],
) -> None:
    form = compress.form

    @for_people
    def start(shown: Values) -> Updates:
        check_runs(app)
        started = start_run(app, form, shown)
        updates = problem_updates(compress, shown, started.problems)
        if started.run is not None:
            updates[chosen] = started.run.name
            updates[tabs] = gr.update(selected="runs")
        return updates

    @for_people
    def stop(name: str) -> None:
        gr.Info(_STOPPED[app.stop(app.watch.open(name))], title="Stop")

    @for_people
    def proceed(name: str) -> None:
        run = app.watch.open(name)
        check_runs(app, resumed=run.name)
        app.start(run)

    refresh(
        compress.start.click(
            start,
            {compress.marked, *form.components},
            [chosen, tabs, *compress.problem_outputs()],
            concurrency_id="act",
            concurrency_limit=1,
            api_visibility="private",
            show_progress_on=[compress.problems],
        )
    )
    acting: dict[str, Any] = {"concurrency_id": "act", "concurrency_limit": 1, **_QUIET}
    refresh(gr.on([compress.stop.click, runs.stop.click], stop, chosen, None, **acting))
    refresh(runs.proceed.click(proceed, chosen, None, **acting))
    saved_file.connect(runs.report, partial(report_of, app), chosen)
