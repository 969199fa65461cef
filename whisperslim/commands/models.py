"""Commands about models: score, run, compare, inspect and fetch them."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whisperslim.commands.terminal import (
    DEFAULT_RUNS,
    AsJson,
    Language,
    RunsFolder,
    Window,
    announce,
    counting,
    downloading,
    megabytes,
    millions,
    print_json,
    print_table,
    say,
)
from whisperslim.errors import AudioError, UsageError

if TYPE_CHECKING:
    from whisperslim.core.cost.report import CostRow
    from whisperslim.engines.base import Transcript
    from whisperslim.engines.comparison import Side, SideScores
    from whisperslim.engines.windowed import WindowedTranscriber
    from whisperslim.jobs.grid.ray_crew import RayCrew
    from whisperslim.jobs.models.inventory import ModelEntry
    from whisperslim.jobs.scoring.compared import Compared

MODEL_HELP = (
    "Model: a hub id, a local folder, a run's slim folder, or one that comes with the project: "
    "whisperslim/base-hi."
)
Beam = Annotated[
    int,
    typer.Option(
        help="Texts followed at once by a model that scores frames (CTC); 0 takes the likeliest "
        "token of every frame.",
        min=0,
    ),
]
LanguageModel = Annotated[
    Path | None, typer.Option(help="An ARPA file of words, which the beam is weighed with.")
]
LanguageWeight = Annotated[float, typer.Option(help="Weight of the language model.")]
WordBonus = Annotated[float, typer.Option(help="Added for each word, beside a language model.")]
Normalizers = Annotated[
    list[str] | None,
    typer.Option(
        "--normalizer",
        metavar="NAME",
        help="Score by this normalizer as well, such as vistaar, whisper-marks or hindi-1+glides. "
        "May be given several times.",
    ),
]
Shards = Annotated[
    int,
    typer.Option(
        help="Work on many recordings in so many parts, each a file in --out. Those that are there "
        "are kept; when all are, they are put together.",
        min=0,
    ),
]
OneShard = Annotated[
    int, typer.Option(help="Only this one of --shards, from 1, as on one of many machines.")
]
ShardFolder = Annotated[
    Path | None,
    typer.Option("--out", metavar="FOLDER", help="Folder of the shards and what is made of them."),
]
RayAddress = Annotated[
    str,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Work on several of --shards at once, on the nodes of the Ray cluster whose head is "
        "at HOST:PORT; `local`: on this machine alone. All nodes see model, data and --out.",
    ),
]
Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recordings, any format.")]


def evaluate(
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    data: Annotated[str, typer.Option(help="Manifest or corpus folder.")],
    split: Annotated[
        str | None,
        typer.Option(
            help="Split of the data; by default test, or everything where there are no splits. "
            "Empty is everything."
        ),
    ] = None,
    language: Language = "hi",
    window: Window = "fit",
    limit: Annotated[int, typer.Option(help="Clips to score; 0 is all.", min=0)] = 0,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Clips decoded together; no clip's text depends on it. By default 16, and 1 for "
            "an export, whose time is then that of use.",
            min=1,
        ),
    ] = None,
    skip_problems: Annotated[
        bool, typer.Option(help="Leave out clips that cannot be used, and list them.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="OUT",
            help="File for the full record; the texts are written beside it.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="An earlier record to compare with: difference, interval and p-value."),
    ] = None,
    script: Annotated[
        str,
        typer.Option(
            help="own: only the language's own script; any: no limit; auto: own for a model that "
            "no run has tuned, since it also writes Hindi in other scripts."
        ),
    ] = "auto",
    normalizer: Normalizers = None,
    shards: Shards = 0,
    shard: OneShard = 0,
    folder: ShardFolder = None,
    ray: RayAddress = "",
    beam: Beam = 0,
    lm: LanguageModel = None,
    lm_weight: LanguageWeight = 0.5,
    word_bonus: WordBonus = 1.0,
) -> None:
    """Word and character error rate of a model, or of an export in its engine, on a data set."""
    from whisperslim.speech.audio.window import hearing_window

    hearing_window(window)  # before loading, which may take minutes
    from whisperslim.api import evaluate as evaluate_model
    from whisperslim.api import evaluate_shards
    from whisperslim.jobs.scoring.evaluation import check_places
    from whisperslim.jobs.scoring.shards import RECORD

    if _shards_asked(shards, shard, folder, ray) and (limit or out or against):
        raise UsageError(
            "--shards scores all clips and writes its own record, record.json in --out; leave "
            "--limit, --json and --against away, or --shards"
        )
    check_places(out, against)  # before scoring, which may take hours
    if ray and folder:
        options = {"language": language, "window": window, "script": script, "beam": beam,
                   "lm_weight": lm_weight, "word_bonus": word_bonus,
                   **({"batch_size": batch_size} if batch_size else {})}  # fmt: skip
        words = ["evaluate", *_model_words(model, lm), "--data", _data_anywhere(data)]
        words += [*_option_words(options), *([] if split is None else ["--split", split])]
        words += ["--skip-problems"] if skip_problems else []
        for name in normalizer or ():
            words += ["--normalizer", name]
        _on_nodes(words, shards, folder, ray)
    with counting("clips transcribed") as progress:
        asked: dict[str, Any] = {
            "language": language, "window": window, "batch_size": batch_size,
            "skip_problems": skip_problems, "script": script, "beam": beam, "lm": lm,
            "lm_weight": lm_weight, "word_bonus": word_bonus, "normalizers": normalizer or (),
            "progress": progress, "announce": announce,
        }  # fmt: skip
        if folder:
            merged = evaluate_shards(model, data, split, shards, folder, shard=shard, **asked)
        else:
            evaluation = evaluate_model(model, data, split, limit=limit, **asked)
    if folder:
        if merged is not None:
            _print_record(merged.record)
            for note in merged.notes:
                say(note)
            announce(f"record: {folder / RECORD}")
        return
    # Before the file is written: the figures are shown even when the disk is full.
    _print_record(evaluation.to_record())
    for note in evaluation.notes():
        say(note)
    if out is not None:
        evaluation.write_record(out)
    if against is not None:
        verdict = evaluation.against(against)
        for line in (f"against {against}: {verdict.sentence}", *verdict.notes):
            say(line)


def _shards_asked(shards: int, shard: int, folder: Path | None, ray: str) -> bool:
    """Whether the work is to be done in shards. Raises `UsageError` for options that do not fit."""
    if not (shards or shard or folder or ray):
        return False
    if not (shards and folder):
        raise UsageError("--shards N and --out FOLDER are given together")
    if ray and shard:
        raise UsageError("--ray gives every shard to a node; leave --shard away, or --ray")
    return True


def _model_words(model: str, lm: Path | None) -> list[str]:
    """Options of a command that is given in another folder."""
    place = Path(model).expanduser()
    words = ["--model", str(place.absolute()) if place.exists() else model]
    return words if lm is None else [*words, "--lm", str(lm.absolute())]


def _option_words(options: dict[str, Any]) -> list[str]:
    words = []
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def _data_anywhere(data: str) -> str:
    """A source as it is named in another folder."""
    from whisperslim.speech.corpus.hub import is_hub
    from whisperslim.speech.corpus.remote.mozilla import is_mozilla
    from whisperslim.speech.corpus.source import parse_source

    asked = parse_source(data)
    if is_hub(asked.location) or is_mozilla(asked.location):
        return data
    place = Path(asked.location).expanduser().absolute()
    return str(replace(asked, location=str(place)))


def _on_nodes(words: list[str], shards: int, folder: Path, ray: str) -> None:
    from whisperslim.jobs.scoring.on_nodes import work_on_shards

    with closing(_ray(ray)) as nodes:
        work_on_shards(words, shards, folder.absolute(), nodes, announce)


def _ray(address: str) -> "RayCrew":
    from whisperslim.jobs.grid.ray_crew import RayCrew

    return RayCrew(address)


def transcribe(
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    files: Files,
    language: Language = "hi",
    window: Window = "fit",
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="text: one line each. srt, vtt: subtitles. tsv: with times in ms. json: parts, "
            "words and times. All but text have word times.",
        ),
    ] = "text",
    beam: Beam = 0,
    lm: LanguageModel = None,
    lm_weight: LanguageWeight = 0.5,
    word_bonus: WordBonus = 1.0,
    at_once: Annotated[
        int,
        typer.Option(
            help="Recordings heard together, each with the text it has alone. 0: as many as the "
            "engine hears faster so; in JSON, where each has its own time, one.",
            min=0,
        ),
    ] = 0,
    shards: Shards = 0,
    shard: OneShard = 0,
    folder: ShardFolder = None,
    ray: RayAddress = "",
    as_json: AsJson = False,
) -> None:
    """Transcribe recordings: one line each, `file: text`. With --shards, a folder of them."""
    from whisperslim.engines import transcripts
    from whisperslim.engines.together import heard_in_groups
    from whisperslim.exported.search import search_asked
    from whisperslim.speech.audio.decoding import decode

    transcripts.check_form(form)
    in_shards = _shards_asked(shards, shard, folder, ray)
    if in_shards and (len(files) > 1 or as_json or form not in ("text", "json")):
        raise UsageError(
            "--shards transcribes one folder into files of JSON lines; give one FOLDER, no --json, "
            "and text or json as --format"
        )
    write = transcripts.SUBTITLES.get(form)
    if write is not None and len(files) > 1:
        raise UsageError(f"--format {form} takes one recording; give one FILE")
    search = search_asked(beam, lm, lm_weight, word_bonus)
    if in_shards and ray and folder:
        options = {"language": language, "window": window, "format": form, "beam": beam,
                   "lm_weight": lm_weight, "word_bonus": word_bonus,
                   "at_once": at_once}  # fmt: skip
        words = ["transcribe", str(files[0].expanduser().absolute())]
        words += [*_model_words(model, lm), *_option_words(options)]
        _on_nodes(words, shards, folder, ray)
    engine = _transcriber(model, window)
    if search is not None:
        engine = engine.searching(search)
    if form != "text":
        engine = engine.telling_words()
    together = at_once or (1 if as_json or form == "json" else engine.at_once)

    def heard_in(files: Sequence[Path]) -> "Iterator[tuple[Path, Transcript | AudioError]]":
        return heard_in_groups(engine, files, decode, language, together)

    if in_shards and folder:
        from whisperslim.jobs.scoring.transcribed import TRANSCRIPTS, transcribe_in_shards

        def kept(heard: "Transcript") -> dict[str, Any]:
            plain = {"text": heard.text, "duration": heard.audio_seconds}
            return transcripts.record(heard, language) if form == "json" else plain

        def hear(files: Sequence[Path]) -> Iterator[tuple[Path, dict[str, Any] | AudioError]]:
            for file, heard in heard_in(files):
                yield file, heard if isinstance(heard, AudioError) else kept(heard)

        depends_on = {"version": transcripts.VERSION, "model": engine.name, "language": language,
                      "window": engine.window_name, "format": form,
                      "decoding": engine.describe_decoding()}  # fmt: skip
        done = transcribe_in_shards(
            files[0].expanduser(), shards, folder, hear, depends_on, shard, announce
        )
        if done:
            say(f"{folder / TRANSCRIPTS}: {done[0]} recordings, {done[1]} could not be read")
            if done[1]:
                raise typer.Exit(1)
        return
    records: list[dict[str, Any]] = []
    failed = False
    for file, transcript in heard_in(files):
        if isinstance(transcript, AudioError):  # the other recordings are still wanted
            announce(f"error: {transcript}")
            failed = True
            continue
        if as_json:
            records.append({"file": str(file), **asdict(transcript)})
        elif form == "json":
            records.append({"file": str(file), **transcripts.record(transcript, language)})
        else:
            say(write(transcript) if write else f"{file}: {transcript.text}")
    if as_json or form == "json":
        print_json(records if as_json else transcripts.document(engine.name, records))
    if failed:
        raise typer.Exit(1)


def compare(
    slim: Annotated[
        str, typer.Option(help="The compressed model: a run's slim folder or another model.")
    ],
    files: Files,
    dense: Annotated[
        str,
        typer.Option(
            help="What to compare with; by default the model that the slim one was made from. A "
            "hub id is that model without tuning."
        ),
    ] = "",
    language: Language = "hi",
    window: Window = "fit",
    reference: Annotated[
        str,
        typer.Option(
            help="Text spoken in the recording, to score both models with. One file only."
        ),
    ] = "",
    script: Annotated[
        str, typer.Option(help="own: only the language's own script; any: no limit.")
    ] = "own",
    normalizer: Normalizers = None,
    as_json: AsJson = False,
) -> None:
    """Transcribe the same recordings with a dense and a slim model, and show what differs."""
    if reference and len(files) > 1:
        raise UsageError("--reference is the text of one recording; give one FILE")
    from whisperslim.api import compare as compare_models

    found = compare_models(
        slim, files, dense, language=language, window=window, reference=reference,
        script=script, normalizers=normalizer or (), announce=announce,
    )  # fmt: skip
    if as_json:
        rows = zip(files, found, strict=True)
        print_json([{"file": str(file), **each.to_record()} for file, each in rows])
        return
    for file, each in zip(files, found, strict=True):
        say(str(file))
        _print_comparison(each)


def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    as_json: AsJson = False,
) -> None:
    """Parameters, size and cost of a model, part by part, with removed and zeroed shares."""
    from whisperslim.core.cost.cost import inspect_model

    report = inspect_model(model)
    if as_json:
        print_json(report.to_record())
        return
    rows = [
        (
            row.key, _units(row),
            millions(row.parameters), millions(row.removed), millions(row.zeroed),
            f"{row.flops / 1e9:.3f}",
        )
        for row in report.rows
    ]  # fmt: skip
    print_table(("part", "units", "parameters", "removed", "zeroed", "GFLOPs"), rows)
    say(
        f"\n{report.name}: {millions(report.parameters)} parameters "
        f"({millions(report.prunable)} prunable), {millions(report.removed)} removed "
        f"({_percent(report.removed_of_prunable)} of prunable, "
        f"{_percent(report.removed_of_all)} of all{_with_tokens(report.removed_tokens)}), "
        f"{millions(report.zeroed)} zeroed "
        f"({_percent(report.zeroed_of_prunable)} of prunable, "
        f"{_percent(report.zeroed_of_all)} of all), {megabytes(report.bytes_on_disk)} on disk"
        f"{_sparse(report.sparse_saved)}, "
        f"{report.flops / 1e9:.2f} GFLOPs ({report.flops_note})"
    )


def _units(row: "CostRow") -> str:
    """How many there are of how many, dimensions of heads where they are narrower, and ranks."""
    if not row.units_dense:
        return ""
    narrower = f", {row.width}/{row.width_dense} wide" if 0 < row.width < row.width_dense else ""
    ranks = "".join(f", {name} of rank {rank}" for name, rank in row.ranks.items())
    return f"{row.units}/{row.units_dense}{narrower}{ranks}"


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Model to fetch, as a hub id.")],
) -> None:
    """Fetch a model's weights and check them, so that nothing needs a network later."""
    from whisperslim.core.fetch.sources import resolve

    with downloading() as progress:
        found = resolve(name, announce=announce, progress=progress)
    say(str(found.path))


def models(runs: RunsFolder = DEFAULT_RUNS, as_json: AsJson = False) -> None:
    """List the models on this computer: of runs, exports, and those that were fetched."""
    from whisperslim.jobs.models.inventory import inventory
    from whisperslim.text.languages import listed

    found = inventory(runs)
    if as_json:
        print_json([entry.to_record() for entry in found])
        return
    columns = ("model", "kind", "size", "runs in", "languages", "WER", "made from")
    rows = [
        (
            each.name, each.kind, megabytes(each.bytes), f"{each.engine} {each.precision}".strip(),
            listed(each.languages), _scored(each), each.problem or each.made_from,
        )
        for each in found
    ]  # fmt: skip
    print_table(columns, rows)


def _scored(entry: "ModelEntry") -> str:
    sets = (f"{_percent(s.wer)} ({s.data}, n = {s.n}, {s.normalizer})" for s in entry.scores)
    return "; ".join(sets) or "not scored"


def _transcriber(model: str, window: str) -> "WindowedTranscriber":
    from whisperslim.engines.opening import open_transcriber
    from whisperslim.speech.audio.window import hearing_window

    return open_transcriber(model, hearing_window(window), announce=announce)


def _print_record(record: dict[str, Any]) -> None:
    plain = [(k, _figure(v)) for k, v in record.items() if not isinstance(v, (list, dict))]
    print_table(("what the figures depend on", ""), plain)
    scores = [(name, *_rates(score)) for name, score in record["scores"].items()]
    columns: tuple[str, ...] = ("normalizer", "WER", "95 % interval", "CER")
    if any("oiwer" in score for score in record["scores"].values()):
        columns = (*columns, "OIWER", "95 % interval of OIWER")
    print_table(columns, scores)


def _with_tokens(removed: int) -> str:
    return f"; {millions(removed)} of it with tokens of the vocabulary" if removed else ""


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rates(score: dict[str, Any]) -> tuple[str, ...]:
    rates = (*_with_interval(score), _percent(score["cer"]))
    return (*rates, *_with_interval(score["oiwer"])) if "oiwer" in score else rates


def _with_interval(score: dict[str, Any]) -> tuple[str, str]:
    low, high = score["wer_interval_95"]
    return _percent(score["wer"]), f"{_percent(low)} to {_percent(high)}"


def _sparse(saved: int) -> str:
    return f" ({megabytes(saved)} less than with every zero written out)" if saved else ""


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.2%}"


def _print_comparison(compared: "Compared") -> None:
    comparison = compared.comparison
    scores = comparison.scores or {}
    rows = [
        _side_row(which, side, compared.runs_in[which], scores.get(which, {}))
        for which, side in (("dense", comparison.dense), ("slim", comparison.slim))
    ]
    print_table(("", "text", "runs in", "window", "seconds", "size", "WER"), rows)
    changed = [step for step in comparison.differences if step.kind != "equal"]
    words = ", ".join(f"{step.reference or '-'} → {step.hypothesis or '-'}" for step in changed)
    say(f"words that differ, dense → slim: {words or 'none'}")
    lines = [f"{role}: {said}" for role, said in compared.models.items()]
    for line in (*lines, compared.speed, compared.verdict.sentence, *compared.notes):
        if line:
            say(line)


def _side_row(which: str, side: "Side", runs_in: str, scores: "SideScores") -> tuple[str, ...]:
    rates = ", ".join(f"{_percent(rates[0])} ({name})" for name, rates in scores.items())
    heard = side.transcript
    size = megabytes(side.bytes_on_disk)
    return which, heard.text, runs_in, heard.window, f"{heard.seconds:.2f}", size, rates or "-"
