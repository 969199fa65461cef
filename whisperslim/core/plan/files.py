"""A plan on disk: readable JSON, and beside it a safetensors file named by the hash in it."""

from pathlib import Path

from whisperslim.core.disk.files import write_bytes_atomically, write_text_atomically
from whisperslim.core.disk.untrusted import MOST_JSON_BYTES, json_of, read_plain, typed
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.errors import PlanError

# Folds are new values of some matrices: never more than a whole large model has.
_MOST_TENSOR_BYTES = 8_000_000_000
_AGAIN = "delete stages/plan.done and stages/shrink.done of the run and resume it to plan again"


def write_plan(path: Path, plan: PruningPlan) -> None:
    """Write a plan in place of an older one; a reader never sees half of it.

    The tensors come first: a JSON file never names what is not there yet.
    """
    text = plan.to_json()
    tensors = _beside(path, text)
    if tensors is not None:
        write_bytes_atomically(tensors, plan.tensor_bytes())
    write_text_atomically(path, text)
    for old in path.parent.glob(f"{path.stem}-*.safetensors"):
        if old != tensors:
            old.unlink(missing_ok=True)


def read_plan(path: Path) -> PruningPlan:
    """The whole plan. Raises `PlanError` when it, or the tensors it names, cannot be used."""
    text = _text(path)
    try:
        beside = _beside(path, text)
        stored = beside is not None and beside.exists()
        tensors = read_plain(beside, _MOST_TENSOR_BYTES) if beside and stored else None
    except (OSError, ValueError) as error:
        raise PlanError(f"{path} cannot be read ({error}); {_AGAIN}") from error
    try:
        return PruningPlan.from_json(text, tensors)
    except PlanError as error:
        where = f" (in {beside.name})" if beside is not None else ""
        raise PlanError(f"{path}: {error}{where}; {_AGAIN}") from error


def read_units(path: Path) -> PruningPlan:
    """The units of a plan alone, as `PruningPlan.units_in`. Raises `PlanError` as `read_plan`."""
    return PruningPlan.units_in(_text(path))


def plan_text(path: Path) -> str:
    """A plan's JSON as it is stored. Its tensors, which it names by their hash, are not read.

    Raises `PlanError` as `read_plan` does of the JSON.
    """
    text = _text(path)
    PruningPlan.units_in(text)
    return text


def _text(path: Path) -> str:
    try:
        return read_plain(path, MOST_JSON_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        raise PlanError(f"{path} cannot be read ({error}); {_AGAIN}") from error


def _beside(path: Path, text: str) -> Path | None:
    """Where the tensors are that a plan's text names; None when it names none."""
    try:
        sha256 = typed(json_of(text.encode()), dict).get("tensors_sha256")
    except ValueError:
        return None  # no plan, as reading it will say
    return path.with_name(f"{path.stem}-{str(sha256)[:16]}.safetensors") if sha256 else None
