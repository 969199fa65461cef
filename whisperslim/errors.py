"""Errors that are the user's to fix. Leaf module: imports nothing of the package.

Every message says what was wrong, what is accepted, and how to fix it. The command line prints
the message and exits with `exit_code`; the app shows it; nobody sees a traceback.
"""


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
