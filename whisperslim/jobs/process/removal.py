"""Deleting a run."""

import shutil

from whisperslim.errors import RunError
from whisperslim.jobs.process import background, queue
from whisperslim.jobs.run.folder import RunDir


def delete_run(run: RunDir) -> None:
    """Delete a run's folder with its models and scores.

    Runs derived from it stay complete. Raises `RunError` while anything works on the run or
    it is waiting, and when the disk refuses.
    """
    if queue.place(run):
        raise RunError(f"{run.name} is waiting; take it off the queue first")
    logs = (run.path / "background").glob("*.log")
    busy = [log.stem for log in logs if background.look(run, log.stem).running]
    if busy:
        raise RunError(f"{busy[0]} of {run.name} is running; wait until it has ended")
    # Renamed to what is not a run's name, so that nothing uses a half-deleted run.
    gone = run.path.with_name(f".deleted-{run.name}")
    try:
        with run.lock():
            run.path.rename(gone)
        shutil.rmtree(gone)
    except OSError as error:
        left = gone if gone.exists() else run.path
        raise RunError(
            f"{left} could not be removed: {error.strerror}; delete that folder by hand"
        ) from error
