"""The command line. Commands stand in `whisperslim.commands`; what they need is loaded when run.

Exit codes: 0 done, 1 failed, 2 the request itself was wrong.
"""

import sys
from collections.abc import Callable, Sequence

import typer

from whisperslim.commands import (
    app_page,
    exports,
    models,
    profile,
    reports,
    runs,
    sizes,
    speech,
    vocabulary,
)
from whisperslim.errors import WhisperSlimError
from whisperslim.extras import advice

app = typer.Typer(
    name="whisperslim",
    help="Make a Whisper model smaller and prove that it still hears Hindi.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Runs": (
        runs.compress,
        runs.resume,
        runs.stop,
        runs.runs,
        reports.queue,
        reports.report,
        runs.presets,
    ),
    "Sizes": (sizes.replan, sizes.sweep),
    "Models": (
        models.evaluate,
        models.transcribe,
        models.compare,
        models.inspect,
        models.fetch,
        vocabulary.trim,
    ),
    "Exports": (exports.export, exports.push, profile.profile),
    "Speech": (speech.data, speech.record, speech.cache),
    "App": (app_page.ui,),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit. Errors a user can fix are reported in a sentence."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="whisperslim")
    except WhisperSlimError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        known = advice(error.name or "")
        if known is None:
            raise
        sys.stderr.write(f"error: {known}\n")
        sys.exit(1)
