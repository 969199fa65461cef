"""Errors that are the user's to fix. Leaf module: imports nothing of the package.

Every message says what was wrong, what is accepted, and how to fix it. The command line prints
the message and exits with `exit_code`; the app shows it; nobody sees a traceback.
"""

import errno
import signal


class WhisperSlimError(Exception):
    """Base of every error a user can fix."""

    exit_code = 1


class UsageError(WhisperSlimError):
    """The request itself is malformed: an unknown name, a value out of range."""

    exit_code = 2


class RecipeError(UsageError):
    """One or more recipe fields are wrong. `problems` maps a dotted field name to its message."""

    def __init__(self, problems: dict[str, str]) -> None:
        self.problems = dict(problems)
        lines = [f"  {name}: {message}" for name, message in self.problems.items()]
        super().__init__("the recipe has problems:\n" + "\n".join(lines))


class AudioError(WhisperSlimError):
    """A recording cannot be decoded or is not usable."""


class DataError(WhisperSlimError):
    """A data set is missing, malformed or unsuitable."""


class SourceError(WhisperSlimError):
    """Model weights cannot be found, fetched or verified."""


class CheckpointError(WhisperSlimError):
    """A checkpoint or slim folder is incomplete, damaged or does not match."""


class PlanError(WhisperSlimError):
    """A pruning plan cannot be made or does not fit the model."""


class ParityError(WhisperSlimError):
    """Two forms of one model that must agree do not."""


class DeviceError(WhisperSlimError):
    """The asked-for device or precision is not available here."""


class RunError(WhisperSlimError):
    """A run folder is missing, busy, or in a state that does not allow the request."""


class TrainingError(WhisperSlimError):
    """Training cannot go on, for example because the loss is not finite."""


class ExportError(WhisperSlimError):
    """A model cannot be held, written or run by the engine asked for."""


class MemoryShortageError(WhisperSlimError):
    """There is not enough memory for what was asked."""


_SHORTAGES = (
    "allocate memory", "out of memory", "bad_alloc", "bad allocation", "failed to map segment",
    "start new thread", "mmap failed",
)  # fmt: skip


def shortage_of(error: BaseException) -> MemoryShortageError | None:
    """What to report when the system gave no memory, by whichever library says so; else None."""
    words = str(error).strip()
    found = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    if not found and isinstance(error, (RuntimeError, ImportError, OSError)):
        found = any(each in words.lower() for each in _SHORTAGES)
    if not found:
        return None
    first = f" ({words.splitlines()[0][:200]})" if words else ""
    return MemoryShortageError(
        f"there is not enough memory{first}; end other programs, raise the limit on it, or take a "
        "smaller model or batch_size"
    )


def signal_in_words(number: int) -> str:
    """The name of what ended a process, and what that often means."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    hint = " (the machine may have run out of memory)" if name == "SIGKILL" else ""
    return f"{name}{hint}"
