"""Processes that train one model together, over `torch.distributed`.

Every process has a rank, and the first one (rank 0) speaks for all: it alone writes files and
reports. Without other processes, and inside `alone`, every function here does nothing or returns
what it is given, so that callers need not ask.

All processes must call these functions in the same order. One that is waited for and has ended is
a `RankError` of those that wait.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from whisperslim.errors import RankError, WhisperSlimError
from whisperslim.machine.launched import launched

Result = TypeVar("Result")

# Most time that one process waits for another. The first one may examine a large corpus, or score a
# dev set, meanwhile; a process that ended is noticed at once, by its closed connection.
_PATIENCE = timedelta(days=1)

_alone = 0


@contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes that torchrun has started know one another. May be nested.

    Each uses the GPU of its number on its machine, if there are any.
    """
    if launched() is None or distributed.is_initialized():
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    with _reaching():
        distributed.init_process_group(backend, timeout=_PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def size() -> int:
    """Processes that work together; 1 for this one alone."""
    return 1 if _alone or not distributed.is_initialized() else distributed.get_world_size()


def rank() -> int:
    """This process among them, from 0."""
    return distributed.get_rank() if size() > 1 else 0


def is_first() -> bool:
    """Whether this process speaks for all."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process does not ask others, which wait for it."""
    global _alone
    _alone += 1
    try:
        yield
    finally:
        _alone -= 1


def on_first(work: Callable[[], Result]) -> Result:
    """Do `work` in the first process only, while the others wait. All return what it returned.

    Raises:
        RankError: in the others, when it failed there.
    """
    if size() == 1:
        return work()
    result: Any = None
    failure: BaseException | None = None
    if is_first():
        try:
            with alone():
                result = work()
        except Exception as error:  # noqa: BLE001  # raised below, when the others know
            failure = error
    done, result = from_first((failure is None, None if failure else result))
    if failure is not None:
        raise failure
    if not done:
        raise RankError("the first process of this run failed; what it reports says why")
    return result


def together(work: Callable[[], Result]) -> Result:
    """Do `work` in every process; when it fails in one, all fail, with that one's words.

    For what may fail in one process only and involves no other.

    Raises:
        RankError: when it failed in another process.
    """
    if size() == 1:
        return work()
    failure: WhisperSlimError | None = None
    try:
        with alone():
            result = work()
    except WhisperSlimError as error:
        failure = error
    said = gathered(None if failure is None else str(failure))
    if failure is not None:
        raise failure
    broken = [(number, words) for number, words in enumerate(said) if words is not None]
    if broken:
        number, words = broken[0]
        raise RankError(f"process {number + 1} of {size()}: {words}")
    return result


def from_first(value: Result) -> Result:
    """The first process's value, in all of them. It must be picklable."""
    if size() == 1:
        return value
    held = [value]
    with _reaching():
        distributed.broadcast_object_list(held, src=0)
    return held[0]


def gathered(value: Result) -> list[Result]:
    """Every process's value, in the order of their ranks, in all of them."""
    if size() == 1:
        return [value]
    found: list[Any] = [None] * size()
    with _reaching():
        distributed.all_gather_object(found, value)
    return found


def summed(values: torch.Tensor) -> torch.Tensor:
    """The sum over all processes, the same to the bit in each; `values` itself is overwritten."""
    if size() > 1:
        with _reaching():
            distributed.all_reduce(values)
    return values


def total(count: int) -> int:
    """The sum of a whole number over all processes."""
    return int(summed(torch.tensor(count)))


def check_alike(facts: Mapping[str, Any]) -> None:
    """Raise `RankError` when another process has other facts than the first; `facts` by name."""
    first, *others = gathered(dict(facts))
    for number, theirs in enumerate(others, start=2):
        other = [name for name, value in first.items() if theirs.get(name) != value]
        if other:
            name = other[0]
            raise RankError(
                f"process {number} of {size()} has another {name} than the first: "
                f"{theirs.get(name)} instead of {first[name]}; all need the same program, model "
                "and data"
            )


@contextmanager
def _reaching() -> Iterator[None]:
    """Make words of what torch raises when another process is gone."""
    try:
        yield
    except RuntimeError as error:  # of gloo, of nccl and of the store alike
        # Gloo begins with the line of its source, and ends with good wishes.
        line = str(error).strip().partition("\n")[0]
        what = line.rpartition("] ")[2] if line.startswith("[") else line
        raise RankError(
            "another process of this run has ended or cannot be reached "
            f"({what.partition('. ')[0] or type(error).__name__}); its own output says why. When "
            "that is repaired, resume the run: it continues from its last checkpoint"
        ) from error
