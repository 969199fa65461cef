"""Which library computes a run's float32 products on the processor."""

from collections.abc import Callable, Mapping, Sequence

from whisperslim.core import matmul
from whisperslim.core.matmul import MatmulChoice
from whisperslim.events import Event, Notice
from whisperslim.jobs.run import environment
from whisperslim.jobs.run.folder import RunDir

FACT = "matmul"
_UNMEASURED = MatmulChoice(
    matmul.STOCK, None, None, None,
    "float32 products with torch's default library, as in all runs when this one began",
)  # fmt: skip


def set_up_matmul(
    run: RunDir,
    emit: Callable[[Event], None],
    kernels: Mapping[str, matmul.Kernel] = matmul.KERNELS,
) -> None:
    """Measure at a run's first start, store the choice, and use it at every later start.

    Another measurement may decide otherwise, and libraries differ in the last bits, so a resumed
    run would differ from an uninterrupted one. Where oneDNN does not compute in float32 on the
    processor, stock is used and reported. `environment.json` lists the choices in order, with a new
    entry whenever it changes. `kernels` are for tests.
    """
    path = run.environment_path
    used = [MatmulChoice.from_record(each) for each in environment.read(path).get(FACT, [])]
    choice = matmul.take(_choice(run, used, kernels))
    if not used or choice.library != used[-1].library:
        facts = [each.to_record() for each in (*used, choice)]
        environment.add_facts(path, {FACT: facts})
        emit(Notice(message=choice.why))


def _choice(
    run: RunDir, used: Sequence[MatmulChoice], kernels: Mapping[str, matmul.Kernel]
) -> MatmulChoice:
    if used:
        return matmul.keep(used[0], kernels)
    # Its first stage is done without a stored choice: an older version began it.
    return _UNMEASURED if run.stage_done("data") else matmul.decided()
