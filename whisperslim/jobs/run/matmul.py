"""Which library a run's float32 products on the processor are computed with."""

from collections.abc import Callable, Mapping, Sequence

from whisperslim.core import matmul
from whisperslim.core.matmul import MatmulChoice
from whisperslim.events import Event, Notice
from whisperslim.jobs.run import environment
from whisperslim.jobs.run.folder import RunDir

FACT = "matmul"
_UNMEASURED = MatmulChoice(
    matmul.STOCK, None, None, None,
    "float32 products by torch's own choice of library, as all were when this run began",
)  # fmt: skip


def set_up_matmul(
    run: RunDir,
    emit: Callable[[Event], None],
    kernels: Mapping[str, matmul.Kernel] = matmul.KERNELS,
) -> None:
    """Measure at a run's first start, write the choice down, and keep to it at every later one.

    Timing may decide otherwise in another process, and libraries differ in the last bits, so that a
    resumed run would not be the uninterrupted one. Where oneDNN is not float32 on the processor it
    is resumed on, stock is used and said. `environment.json` lists what was used, the first choice
    first; a choice is added when it is not the one before it. `kernels` are for tests.
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
    # Its first stage is done and nothing is written down: an older version began it.
    return _UNMEASURED if run.stage_done("data") else matmul.decided()
