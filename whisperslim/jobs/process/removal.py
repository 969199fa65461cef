"""Deleting a run for good."""

import shutil

from whisperslim.errors import RunError
from whisperslim.jobs.process import background, queue
from whisperslim.jobs.run.folder import RunDir


def delete_run(run: RunDir) -> None:
    """Remove a run's folder, its models and scores.

    A run that was derived from it stays whole. Raises `RunError` while anything works on the run
    or it waits its turn, and when the disk does not let go of it.
    """
    if queue.place(run):
        raise RunError(f"{run.name} waits its turn; let it leave the queue first")
    logs = (run.path / "background").glob("*.log")
    busy = [log.stem for log in logs if background.look(run, log.stem).running]
    if busy:
        raise RunError(f"a {busy[0]} of {run.name} is at work; wait for its end")
    # Under a name that is no run's, so that nobody begins with what is half removed.
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
