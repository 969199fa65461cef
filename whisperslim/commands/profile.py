"""The command that measures how much of an engine's time each unit of a model takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from whisperslim.commands.terminal import (
    AsJson,
    Window,
    announce,
    counting,
    print_json,
    print_table,
    say,
)
from whisperslim.engines import registry
from whisperslim.engines.registry import listed

if TYPE_CHECKING:
    from whisperslim.core.loading import SpeechModel
    from whisperslim.engines.timing.profile import Profile


def profile(
    engine: Annotated[
        str, typer.Option(help=f"Engine to measure in: {listed(registry.profiled())}.")
    ] = registry.OWN,
    quantize: Annotated[
        str, typer.Option(help="Number format in that engine: none, int8, or another that it has.")
    ] = registry.FULL,
    model: Annotated[
        str, typer.Option(help="Model to measure, as wide as the one to prune.")
    ] = "openai/whisper-base",
    window: Window = "fit",
    threads: Annotated[
        int, typer.Option(help="CPU threads; 0 leaves it to the engine.", min=0)
    ] = 0,
    repeats: Annotated[int, typer.Option(help="Timed passes of each model.", min=1)] = 7,
    as_json: AsJson = False,
) -> None:
    """Measure seconds per head, FFN unit, layer and token row in an engine on this machine.

    Kept for `replan --currency latency` and recipes with `target.currency: latency`. Leave the
    machine idle meanwhile.
    """
    from whisperslim.core.loading import load_model
    from whisperslim.engines.timing.profile import measure_profile
    from whisperslim.engines.timing.trial import trial_opener
    from whisperslim.jobs.pricing.profiles import check_kept, check_profiled, save_profile
    from whisperslim.jobs.sizes.measure import machine
    from whisperslim.speech.audio.window import parse_window

    check_profiled(engine, quantize)
    check_kept(engine)
    policy = parse_window(window)
    speech = load_model(model, announce=announce)
    with TemporaryDirectory() as folder, _trimmed(speech, Path(folder)) as trimmed:
        opener = trial_opener(engine, quantize, Path(folder), policy, threads)
        with counting("models compared") as progress:
            found = measure_profile(
                speech,
                opener,
                trimmed,
                engine=engine,
                quantize=quantize,
                machine={**machine("cpu"), "threads": threads, "window": policy.describe()},
                repeats=repeats,
                progress=progress,
            )
    if as_json:
        from dataclasses import asdict

        print_json(asdict(found))
    else:
        _print(found)
    announce(f"profile: {save_profile(found)}")


@contextmanager
def _trimmed(speech: "SpeechModel", folder: Path) -> "Iterator[SpeechModel | None]":
    """The model with the tokens of one language; None when too few are left out to measure a
    time.
    """
    from whisperslim.core.loading import load_model
    from whisperslim.core.trimming import save_trimmed, vocabulary_for
    from whisperslim.engines.timing.trial import trial_language

    vocabulary = vocabulary_for(speech, [trial_language(speech)])
    if 2 * vocabulary.size > vocabulary.dense_size:
        yield None
        return
    save_trimmed(folder / "trimmed", speech, vocabulary)
    yield load_model(str(folder / "trimmed"))


def _print(found: "Profile") -> None:
    rows = [
        (place, f"{1e6 * seconds:.3f}", f"{1e9 * seconds / found.weights_per_unit[place]:.3f}",
         "below the noise: an estimate" * (place in found.lost_in_noise))
        for place, seconds in found.seconds_per_unit.items()
    ]  # fmt: skip
    print_table(("unit", "µs", "µs per 1000 weights", ""), rows)
    beside = ", ".join(f"{s} {1e6 * each:.0f} µs" for s, each in found.seconds_per_layer.items())
    say(
        f"\na layer besides its units: {beside}\n"
        f"1000 rows of the vocabulary: {1e6 * found.seconds_per_row:.0f} µs a token\n"
        f"one clip of {found.clip_seconds:g} s, {found.tokens} tokens, medians of "
        f"{found.repeats} passes in {found.engine} ({found.quantize})"
    )
