"""The command line. Commands are in `whisperslim.commands`; what they need is loaded when they run.

Exit codes: 0 done, 1 failed, 2 the request itself was wrong.
"""

import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any, NoReturn

import typer

from whisperslim.errors import WhisperSlimError, shortage_of
from whisperslim.machine.extras import advice
from whisperslim.text.printable import printable

_PANELS = {
    "Runs": (
        "runs.compress", "runs.resume", "runs.stop", "runs.runs", "reports.queue", "reports.report",
        "runs.presets",
    ),
    "Sizes": ("sizes.replan", "sizes.sweep"),
    "Models": (
        "models.models", "models.evaluate", "models.transcribe", "models.compare",
        "models.inspect", "models.fetch", "vocabulary.trim",
    ),
    "Exports": ("exports.export", "exports.push", "profile.profile"),
    "Speech": ("speech.data", "speech.record", "speech.cache"),
    "App": ("app_page.ui", "server.serve"),
}  # fmt: skip
"""Panel of the help -> module of `whisperslim.commands` and command, which its function is."""


@cache
def command_line(only: str = "") -> typer.Typer:
    """All commands, or `only` one: loading the modules of the others would waste megabytes."""
    made = typer.Typer(
        name="whisperslim",
        help="Make a Whisper model smaller and prove that it still hears Hindi.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    made.callback()(lambda: None)  # otherwise typer would run a single command without its name
    for panel, places in _PANELS.items():
        for place in places:
            module, _, name = place.partition(".")
            if only in ("", name):
                function = getattr(import_module(f"whisperslim.commands.{module}"), name)
                made.command(rich_help_panel=panel)(function)
    return made


def __getattr__(name: str) -> Any:
    if name == "app":
        return command_line()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _asked(words: Sequence[str]) -> str:
    known = {place.partition(".")[2] for places in _PANELS.values() for place in places}
    return words[0] if words and words[0] in known else ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit. Errors that a user can fix are printed as one sentence."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        command_line(_asked(words))(args=words, prog_name="whisperslim")
    except WhisperSlimError as error:
        _exit_with(error)
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        # The user can fix missing libraries and too little memory; anything else is a bug.
        known = advice(error.name or "") if isinstance(error, ModuleNotFoundError) else None
        reported = WhisperSlimError(known) if known else shortage_of(error)
        if reported is None:
            raise
        _exit_with(reported)


def _exit_with(error: WhisperSlimError) -> NoReturn:
    sys.stderr.write(f"error: {printable(str(error))}\n")
    sys.exit(error.exit_code)
