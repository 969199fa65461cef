"""What can be done with a finished run: compare, export, delete."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from whisperslim.engines import registry
from whisperslim.errors import RunError, UsageError
from whisperslim.jobs.process import background
from whisperslim.jobs.process.removal import delete_run
from whisperslim.jobs.run.folder import RunDir, RunStatus
from whisperslim.ui.compare.fields import CompareTab
from whisperslim.ui.compare.tab import engine_updates, origin_update
from whisperslim.ui.context.choices import slim_names
from whisperslim.ui.context.context import AppContext, for_people
from whisperslim.ui.context.limits import check_commands
from whisperslim.ui.parts.markup import note, table, words
from whisperslim.ui.parts.quantities import megabytes
from whisperslim.ui.parts.updates import Updates
from whisperslim.ui.runs.headline import exports_of

EXPORT = "export"
_DELETE, _SURE = "Delete", "Press again to delete permanently"
_LAST = 1_000


@dataclass(frozen=True)
class RunActions:
    """The components. `sure` is the run for which Delete was pressed once."""

    compare: gr.Button
    delete: gr.Button
    sure: gr.State
    exporting: gr.Accordion
    form: gr.Dropdown
    export: gr.Button
    exported: gr.HTML


def lay_out_buttons() -> tuple[gr.Button, gr.Button, gr.State]:
    """Compare and Delete, in the row of the run's buttons."""
    compare = gr.Button("Compare", variant="primary", visible=False, elem_id="run-compare")
    delete = gr.Button(_DELETE, variant="stop", visible=False, elem_id="run-delete")
    return compare, delete, gr.State("")


def lay_out_export() -> tuple[gr.Accordion, gr.Dropdown, gr.Button, gr.HTML]:
    """The part that writes exports."""
    with gr.Accordion("Export", open=False, visible=False, elem_id="run-export") as part:
        with gr.Row(elem_classes=["ws-acts"]):
            forms = export_forms()
            form = gr.Dropdown(
                forms,
                value=forms[0][1],
                label="Engine and precision",
                info="Fastest first. Each export is checked against the model when it is written.",
                filterable=False,
                elem_id="export-form",
            )
            export = gr.Button("Export", min_width=150, elem_id="export-start")
        exported = gr.HTML("", elem_id="exported")
    return part, form, export, exported


def export_forms() -> list[tuple[str, str]]:
    """(label, value) of all formats a model can be exported to, fastest first."""
    found = [
        (spec.ranks.get(each, _LAST), f"{spec.title} {_words(each)}", f"{spec.name}-{each}")
        for spec in registry.specs()
        if spec.exporter
        for each in spec.precisions
    ]
    return [(said, value) for _, said, value in sorted(found, key=lambda one: one[0])]


def export_arguments(run: RunDir, form: object) -> list[str]:
    """The command that exports a run's slim model. Raises `UsageError` for a format that is not in
    the list.
    """
    if form not in [value for _, value in export_forms()]:
        raise UsageError(f"{form!r} is not an export format; choose one from the list")
    engine, _, quantize = str(form).rpartition("-")
    out = run.path / "export" / str(form)
    return [
        "export", str(run.slim_path), str(out), "--engine", engine, "--quantize", quantize,
        "--language", run.recipe().language, "--force",
    ]  # fmt: skip


def start_export(context: AppContext, name: object, form: object) -> None:
    """Write an export in the background. Raises `RunError` or `UsageError` before it starts."""
    run = context.watch.open(name)
    if context.watch.status(run) != RunStatus.FINISHED or not run.slim_path.is_dir():
        raise RunError(f"{run.name} has no finished model to export")
    arguments = export_arguments(run, form)
    check_commands(context, EXPORT)
    context.command(run, EXPORT, arguments)


def exports_mark(run: RunDir) -> str:
    """Changes when there is something new to draw."""
    found = background.look(run, EXPORT)
    return f"{found.running} {found.said} {[each.name for each in exports_of(run)]}"


def exports_html(run: RunDir) -> str:
    """What is being written, and every export with its size and folder."""
    found = background.look(run, EXPORT)
    last = found.said.splitlines()[-1] if found.said else "getting ready"
    parts = [note(f"Exporting: {last}", "busy")] if found.running else []
    asked = found.arguments[2] if len(found.arguments) > 2 else ""
    done = [str(each) for each in exports_of(run)]
    if asked and not found.running and asked not in done:
        parts.append(note(f"The last export failed: {last}", "bad"))
    rows = []
    for folder in exports_of(run):
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        rows.append([words(folder.name), words(megabytes(size)), words(folder)])
    parts.append(table(("export", "size", "folder"), rows) if rows else "")
    return "".join(parts)


def shown(actions: RunActions, run: RunDir, status: RunStatus) -> Updates:
    """The buttons of a run: all of them once it has finished with a model."""
    done = status == RunStatus.FINISHED and run.slim_path.is_dir()
    at_rest = status != RunStatus.RUNNING
    return {
        actions.compare: gr.update(visible=done),
        actions.exporting: gr.update(visible=done),
        actions.delete: gr.update(visible=at_rest, value=_DELETE),
        actions.sure: "",
    }


def connect(
    actions: RunActions,
    compare: CompareTab,
    context: AppContext,
    chosen: gr.State,
    tabs: gr.Tabs,
    refresh: Callable[[Any], None],
) -> None:
    """Wire them. `chosen`, `tabs` and `refresh` are the page's way to show a run."""

    @for_people
    def open_compare(name: str) -> Updates:
        run = context.watch.open(name)
        return {
            tabs: gr.update(selected="compare"),
            compare.slim: gr.update(choices=slim_names(context), value=run.name),
            compare.dense: gr.update(**origin_update(context, run.name)),
            **engine_updates(compare, context, run.name, registry.OWN),
        }

    @for_people
    def export(name: str, form: object) -> str:
        start_export(context, name, form)
        return note("Exporting: getting ready", "busy")

    @for_people
    def delete(name: str, sure: str) -> Updates:
        run = context.watch.open(name)
        if sure != run.name:
            return {actions.sure: run.name, actions.delete: gr.update(value=_SURE)}
        delete_run(run)
        gr.Info(f"{run.name}, its models and its scores are deleted.", title="Deleted")
        return {chosen: "", actions.sure: "", actions.delete: gr.update(value=_DELETE)}

    acting: dict[str, Any] = {
        "api_visibility": "private",
        "show_progress": "hidden",
        "concurrency_id": "act",
        "concurrency_limit": 1,
    }
    filled = [compare.slim, compare.dense, compare.slim_engine, compare.engine_note, compare.third]
    actions.compare.click(open_compare, chosen, [tabs, *filled], **acting)
    refresh(actions.export.click(export, [chosen, actions.form], actions.exported, **acting))
    deleting = [chosen, actions.sure, actions.delete]
    refresh(actions.delete.click(delete, [chosen, actions.sure], deleting, **acting))


def _words(precision: str) -> str:
    return "fp32" if precision == registry.FULL else precision
