"""Errors that the user can fix. Leaf module: imports nothing of the package.

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
    """The requested device or precision is not available here."""


class RunError(WhisperSlimError):
    """A run folder is missing, busy, or in a state that does not allow the request."""


class TrainingError(WhisperSlimError):
    """Training cannot go on, for example because the loss is not finite."""


class RankError(WhisperSlimError):
    """Another of the processes that train together ended, or does not fit the first."""


class ExportError(WhisperSlimError):
    """The requested engine cannot hold, write or run a model."""


class MemoryShortageError(WhisperSlimError):
    """There is not enough memory for what was asked."""


_SHORTAGES = (
    "allocate memory", "out of memory", "bad_alloc", "bad allocation", "failed to map segment",
    "start new thread", "mmap failed",
)  # fmt: skip


def shortage_of(error: BaseException) -> MemoryShortageError | None:
    """The message when the system had no memory left, whichever library reports it; else None.

    A library that could not load a part of itself may report only that, so the error that it
    replaced is checked as well.
    """
    each: BaseException | None = error
    while each is not None:
        words = str(each).strip()
        speaking = _speaking_of_memory(words)
        if isinstance(each, MemoryError) or getattr(each, "errno", None) == errno.ENOMEM:
            return _shortage(speaking or words)
        if not isinstance(each, (RuntimeError, ImportError, OSError)):
            return None
        if speaking:
            return _shortage(speaking)
        each = each.__cause__ or each.__context__
    return None


def shortage_in(words: str) -> MemoryShortageError | None:
    """As `shortage_of`, for the last lines of a process that native code has ended."""
    speaking = _speaking_of_memory(words)
    return _shortage(speaking) if speaking else None


def _speaking_of_memory(words: str) -> str:
    """The first line that says that there is no memory; "" when none does."""
    lines = (line.strip() for line in words.splitlines())
    return next((line for line in lines if any(each in line.lower() for each in _SHORTAGES)), "")


def _shortage(words: str) -> MemoryShortageError:
    first = f" ({words.splitlines()[0][:200]})" if words else ""
    return MemoryShortageError(
        f"there is not enough memory{first}; close other programs, raise the memory limit, or use "
        "a smaller model or batch_size"
    )


def signal_in_words(number: int) -> str:
    """The name of the signal that ended a process, and what it often means."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    hint = " (the machine may have run out of memory)" if name == "SIGKILL" else ""
    return f"{name}{hint}"
