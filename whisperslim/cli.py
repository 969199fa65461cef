"""The command line. Commands stand in `whisperslim.commands`; what they need is loaded when run.

Exit codes: 0 done, 1 failed, 2 the request itself was wrong.
"""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

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
from whisperslim.errors import WhisperSlimError, shortage_of
from whisperslim.extras import advice
from whisperslim.printable import printable

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
        _exit_with(error)
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        # Libraries that are missing, and memory, are for the user to provide; else it is a fault.
        known = advice(error.name or "") if isinstance(error, ModuleNotFoundError) else None
        reported = WhisperSlimError(known) if known else shortage_of(error)
        if reported is None:
            raise
        _exit_with(reported)


def _exit_with(error: WhisperSlimError) -> NoReturn:
    sys.stderr.write(f"error: {printable(str(error))}\n")
    sys.exit(error.exit_code)
