"""How much may run at once: pressing every button on a page must not overload the computer."""

from whisperslim.errors import UsageError
from whisperslim.jobs.process import background
from whisperslim.jobs.run.folder import RunStatus, list_runs
from whisperslim.ui.context.context import AppContext

MOST_RUNS = 20  # running and waiting; our choice
MOST_COMMANDS = 2  # predictions and sweeps at once; each holds a model and its own threads


def check_runs(context: AppContext, resumed: str = "") -> None:
    """Raise `UsageError` when no further run may start or wait.

    A run to be `resumed` that waits already does not count twice.
    """
    open_ones = (RunStatus.RUNNING, RunStatus.QUEUED)
    # All of them: a resumed run may be older than those that the page lists.
    others = [run for run in list_runs(context.runs) if run.name != resumed]
    count = sum(context.watch.status(run) in open_ones for run in others)
    if count >= MOST_RUNS:
        raise UsageError(
            f"{count} runs are active or waiting, and up to {MOST_RUNS} may; wait for one to end, "
            "or delete runs that are not needed"
        )


def check_commands(context: AppContext, *names: str) -> None:
    """Raise `UsageError` when no further command of these names may start."""
    runs = [run for run, _ in context.watch.listed()]
    count = sum(background.look(run, name).running for run in runs for name in names)
    if count >= MOST_COMMANDS:
        raise UsageError(
            f"{count} predictions or curves are running, and up to {MOST_COMMANDS} may at once; "
            "wait for one to end"
        )
