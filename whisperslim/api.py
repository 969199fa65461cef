"""What the command line does, as functions: `import whisperslim as ws`.

Each is what its command calls, too. Only what is asked for is loaded: `load` with an ONNX export
needs no torch.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from whisperslim.errors import RunError
from whisperslim.runtime import Model, Recording, Transcript, load
from whisperslim.text.languages import code_of

if TYPE_CHECKING:
    from whisperslim.events import Event
    from whisperslim.jobs.run.folder import RunDir
    from whisperslim.jobs.scoring.compared import Compared
    from whisperslim.jobs.scoring.evaluation import Evaluation
    from whisperslim.jobs.scoring.shards import Merged

__all__ = [
    "Model",
    "Recording",
    "Transcript",
    "compare",
    "compress",
    "evaluate",
    "evaluate_shards",
    "load",
]


def compare(
    slim: str | Path,
    recordings: Recording | Sequence[Recording],
    dense: str | Path = "",
    *,
    language: str = "hi",
    window: str = "fit",
    reference: str = "",
    script: str = "own",
    normalizers: Sequence[str] = (),
    announce: Callable[[str], None] = lambda message: None,
) -> "list[Compared]":
    """A dense and a slim model on the same recordings, one result each.

    Arguments and errors as of `whisperslim.jobs.scoring.compared.compare_models`; a single
    recording may stand by itself, and the language's English name for its code.
    """
    from whisperslim.jobs.scoring.compared import compare_models

    several = isinstance(recordings, Sequence) and not isinstance(recordings, (str, bytes))
    return compare_models(
        str(slim),
        recordings if several else [recordings],  # type: ignore[arg-type,list-item]
        str(dense) if dense else "",
        language=code_of(language),
        window=window,
        reference=reference,
        script=script,
        normalizers=normalizers,
        announce=announce,
    )


def evaluate(
    model: str | Path,
    data: str,
    split: str | None = None,
    *,
    language: str = "hi",
    window: str = "fit",
    limit: int = 0,
    batch_size: int | None = None,
    skip_problems: bool = False,
    script: str = "auto",
    beam: int = 0,
    lm: str | Path | None = None,
    lm_weight: float = 0.5,
    word_bonus: float = 1.0,
    normalizers: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
    announce: Callable[[str], None] = lambda message: None,
) -> "Evaluation":
    """Word and character error rate of a model, or of an export in its engine, on a data set.

    Arguments and errors as of `whisperslim.jobs.scoring.evaluation.evaluate_model`, but that
    without `split` the test split is scored where data has one, as the command does. A model
    that scores frames (CTC) follows `beam` prefixes of a text, 0 being greedy, with the language
    model in the ARPA file `lm`; see `whisperslim.exported.search`.
    """
    from whisperslim.exported.search import search_asked
    from whisperslim.jobs.scoring.evaluation import evaluate_model
    from whisperslim.speech.corpus.dataset import scored_source

    search = search_asked(beam, Path(lm) if lm else None, lm_weight, word_bonus)
    return evaluate_model(
        str(model),
        scored_source(data) if split is None else data,
        split,
        code_of(language),
        window,
        limit,
        batch_size,
        progress=progress,
        announce=announce,
        skip_problems=skip_problems,
        script=script,
        search=search,
        normalizers=normalizers,
    )


def evaluate_shards(
    model: str | Path,
    data: str,
    split: str | None,
    shards: int,
    out: str | Path,
    *,
    shard: int = 0,
    language: str = "hi",
    window: str = "fit",
    batch_size: int | None = None,
    skip_problems: bool = False,
    script: str = "auto",
    beam: int = 0,
    lm: str | Path | None = None,
    lm_weight: float = 0.5,
    word_bonus: float = 1.0,
    normalizers: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
    announce: Callable[[str], None] = lambda message: None,
) -> "Merged | None":
    """A large set scored in `shards`, each a file in the folder `out`, and their record.

    Shards that are there are kept. With `shard`, from 1, that one alone is scored, and None comes
    back. Other arguments as of `evaluate`, errors also as of
    `whisperslim.jobs.scoring.shards.score_in_shards`.
    """
    from whisperslim.exported.search import search_asked
    from whisperslim.jobs.scoring.evaluation import prepare, source_of
    from whisperslim.jobs.scoring.shard import Shard
    from whisperslim.jobs.scoring.shards import score_in_shards
    from whisperslim.speech.corpus.dataset import scored_source

    Shard(shard or 1, shards)  # refuses what there cannot be before the work
    source = scored_source(data) if split is None else source_of(data, split)
    prepared = prepare(
        str(model), source, code_of(language), window, batch_size, progress=progress,
        announce=announce, skip_problems=skip_problems, script=script, normalizers=normalizers,
        search=search_asked(beam, Path(lm) if lm else None, lm_weight, word_bonus),
    )  # fmt: skip
    return score_in_shards(prepared, shards, Path(out), shard)


def compress(
    recipe: str | Path,
    settings: Sequence[str] = (),
    *,
    runs: str | Path = "runs",
    on_event: "Callable[[Event], None]" = lambda event: None,
) -> "RunDir":
    """Do a whole run in this process: from the dense model to the slim one.

    Args:
        recipe: A preset's name or a YAML file.
        settings: Changes to it, as `--set` takes them: `["train.steps=100"]`.
        runs: Folder in which the run is made.
        on_event: Called with every event as it happens; see `whisperslim.events`.

    Returns:
        The run. Its slim model is in `slim_path`, and its name opens wherever a model is asked
        for. A run that was asked to stop comes back, too; `status()` says so.

    Raises:
        RecipeError, UsageError: the recipe or a setting is wrong, or an extra is missing.
        RunError: the run failed, with what it said.
    """
    from whisperslim.events import Failed
    from whisperslim.jobs.process.worker import run_worker
    from whisperslim.jobs.recipe.recipe import load_recipe
    from whisperslim.jobs.run.folder import RunDir
    from whisperslim.machine.extras import need

    need("train", "compress")  # before there is a run that cannot go on
    made = RunDir.create(Path(runs), load_recipe(recipe, settings))
    failures: list[str] = []

    def note(event: "Event") -> None:
        if isinstance(event, Failed):
            failures.append(event.error)
        on_event(event)

    if run_worker(made, [note]):
        raise RunError(f"the run {made.path} failed: {failures[-1]}")
    return made
