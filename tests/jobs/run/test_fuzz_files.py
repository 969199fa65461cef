"""Files made up after those we write: each is read, or refused as one of our errors.

Whatever is in them, a reader ends soon and nothing outside the folder changes. `make fuzz` tries
many more than the tests do.
"""

import io
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.speech.audio.test_hostile_audio import encoded
from tests.support.spoiled import spoil, spoil_bytes, spoil_yaml
from whisperslim.commands.runs import _record, _row
from whisperslim.core.plan.files import read_plan, read_units
from whisperslim.core.store.record import read_record
from whisperslim.core.store.score_map import ScoreMap
from whisperslim.engines.export.parity import read_verdict
from whisperslim.engines.export.record import read_export
from whisperslim.errors import AudioError, RecipeError, WhisperSlimError
from whisperslim.jobs.process import queue
from whisperslim.jobs.recipe.own_presets import OwnPresets, read_recipe
from whisperslim.jobs.recipe.recipe import load_recipe, to_yaml
from whisperslim.jobs.report.report import report
from whisperslim.jobs.run import environment
from whisperslim.jobs.run.eventlog import last_event, read_events
from whisperslim.jobs.run.folder import RunDir, find_run
from whisperslim.jobs.run.resuming import resume_point
from whisperslim.jobs.run.room import room_needed
from whisperslim.jobs.run.view import RunView, fold
from whisperslim.jobs.scoring.origin import made_from, training_clips
from whisperslim.jobs.sizes.curve import read_sweep
from whisperslim.jobs.sizes.derivation import read_derivation
from whisperslim.jobs.sizes.planned import read_planned
from whisperslim.jobs.sizes.predict import stored_prediction
from whisperslim.jobs.sizes.tuned import find_facts, open_tuned
from whisperslim.jobs.stages.context import StageContext
from whisperslim.jobs.stages.order import STAGES
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.corpus.dataset import load_items, manifest_hash
from whisperslim.train.state import read_checkpoint
from whisperslim.ui.compare.history import History
from whisperslim.ui.context.run_watch import RunWatch

OLD = Path(__file__).parents[2] / "data" / "old"
CASES = int(os.environ.get("WHISPERSLIM_FUZZ", "1000"))
LONGEST_SECONDS = 120  # a reader that takes longer is taken for one that never ends
READERS: dict[str, Callable[[RunDir], object]] = {
    "list": lambda run: _row(_record(run)),
    "watch": lambda run: (w := RunWatch(run.path.parent)) and (w.listed(), w.damage(run)),
    "command": lambda run: find_run(run.name, run.path.parent).recipe(),
    "events": lambda run: fold(RunView(), read_events(run.events_path)[0]),
    "last event": lambda run: last_event(run.events_path),
    "queue": lambda run: (queue.waiting(run.path.parent), queue.turn(run), queue.device_of(run)),
    "room": lambda run: (room_needed(run), resume_point(run, STAGES)),
    "environment": lambda run: environment.read(run.environment_path),
    "data": lambda run: StageContext(run, run.recipe(), lambda event: None)._chosen_keys(),
    "plan": lambda run: read_plan(run.plan_path),
    "units": lambda run: read_units(run.plan_path),
    "planned": read_planned,
    "facts": find_facts,
    "tuned": open_tuned,
    "scores": lambda run: ScoreMap.load(run.scores_path),
    "sweep": read_sweep,
    "derivation": read_derivation,
    "prediction": lambda run: stored_prediction(run, 0.3, 0.1),
    "origin": lambda run: (training_clips(str(run.slim_path)), made_from(str(run.slim_path))),
    "parity": lambda run: read_verdict(run.path),
    "slim": lambda run: read_record(run.slim_path),
    "exports": lambda run: [read_export(each) for each in sorted((run.path / "export").glob("*"))],
    "checkpoint": lambda run: [
        read_checkpoint(each, torch.device("cpu"))
        for each in sorted(run.checkpoints("tune").glob("step-*"))
    ],
    "report": report,
}  # fmt: skip


def many(share: float) -> settings:
    return settings(
        max_examples=max(1, round(CASES * share)),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def in_time() -> Iterator[None]:
    def give_up(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"it does not end within {LONGEST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONGEST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Path -> size and time of change of all that lies in a folder."""
    found = {}
    for path in folder.rglob("*"):
        facts = path.lstat()
        found[str(path)] = (facts.st_size, facts.st_mtime_ns)
    return found


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Runs as earlier versions left them, and beside them what is nobody's business."""
    folder = tmp_path_factory.mktemp("ground")
    shutil.copytree(OLD / "2026-11-22", folder / "mine")
    for name in ("model", "corpus"):
        shutil.copytree(OLD / name, folder / "mine" / name)
    (folder / "outside").mkdir()
    (folder / "outside" / "kept").write_text("as it is")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "mine")  # their recipes name model and corpus so
        patch.setenv("WHISPERSLIM_CACHE", str(folder / "cache"))
        yield folder


def runs_of(ground: Path) -> list[Path]:
    return sorted(path for path in (ground / "mine" / "runs").glob("2026*"))


@many(0.2)
@given(st.data())
def test_run_folders(ground: Path, data: st.DataObject) -> None:
    folder = data.draw(st.sampled_from(runs_of(ground)))
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    small = [path for path in files if path.suffix in (".json", ".jsonl", ".yaml", ".tsv")]
    path = data.draw(st.sampled_from(small if data.draw(st.integers(0, 3)) else files))
    whole = path.read_bytes()
    outside = listing(ground / "outside"), listing(ground / "mine" / "corpus")
    chosen = data.draw(st.lists(st.sampled_from(sorted(READERS)), min_size=6, max_size=6))
    try:
        path.write_bytes(spoil(path, whole, data.draw))
        for reader in dict.fromkeys(chosen):
            with in_time(), suppress(WhisperSlimError):
                READERS[reader](RunDir(folder))
    finally:
        path.write_bytes(whole)
    assert (listing(ground / "outside"), listing(ground / "mine" / "corpus")) == outside


@many(0.04)
@given(st.data())
def test_names_in_run_folders(ground: Path, data: st.DataObject) -> None:
    """Files and folders of any name, where names mean something."""
    folder = data.draw(st.sampled_from(runs_of(ground)))
    name = data.draw(
        st.sampled_from(
            ["step-000004", "step-999999999999", "step-0x1", "tune.done", ".plan.json-abcdefgh",
             ".old-plan.json-abcdefgh", "plan-0000000000000000.safetensors", "latest", "STOP",
             "worker.lock", "order.json"]
        )
        | st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1,
                  max_size=40).filter(lambda text: text not in (".", ".."))
    )  # fmt: skip
    parent = folder / data.draw(
        st.sampled_from(["", "stages", "checkpoints", "checkpoints/tune", "eval", "export"])
    )
    made = [each for each in (parent, parent / name) if not each.exists()]
    outside = listing(ground / "outside")
    try:
        with suppress(OSError):  # too long a name
            parent.mkdir(parents=True, exist_ok=True)
            if data.draw(st.booleans()):
                (parent / name).mkdir(exist_ok=True)
            elif not (parent / name).exists():
                (parent / name).write_bytes(b"x")
        for reader in ("list", "watch", "room", "queue", "checkpoint", "exports", "report"):
            with in_time(), suppress(WhisperSlimError):
                READERS[reader](RunDir(folder))
    finally:
        for each in made:
            shutil.rmtree(each, ignore_errors=True)
            with suppress(OSError):
                each.unlink(missing_ok=True)
    assert listing(ground / "outside") == outside


@many(0.12)
@given(st.data())
def test_exports_and_comparisons(ground: Path, data: st.DataObject) -> None:
    exports = sorted((ground / "mine" / "exports").glob("*"))
    kept = sorted((ground / "mine" / "runs" / "comparisons").glob("*"))
    folder = data.draw(st.sampled_from([*exports, *kept]))
    path = data.draw(st.sampled_from(sorted(folder.glob("*.json"))))
    whole, before = path.read_bytes(), listing(ground / "outside")
    try:
        path.write_bytes(spoil(path, whole, data.draw))
        for reader in (read_export, read_verdict, read_record):
            with in_time(), suppress(WhisperSlimError):
                reader(folder)
        history = History(ground / "mine" / "runs" / "comparisons")
        with in_time(), suppress(WhisperSlimError):
            history.listed()
            history.find(folder.name)
    finally:
        path.write_bytes(whole)
    assert listing(ground / "outside") == before


@many(0.12)
@given(st.data())
def test_presets(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    raw = spoil_yaml(to_yaml(load_recipe("quick-demo")).encode(), data.draw)
    raw = raw if data.draw(st.integers(0, 5)) else spoil_bytes(raw, data.draw)
    with in_time(), suppress(RecipeError):
        recipe = read_recipe(raw, "sent.yaml")
        # What is taken is written and read again as it is.
        assert read_recipe(to_yaml(recipe).encode(), "again.yaml") == recipe
    folder = OwnPresets(tmp_path_factory.getbasetemp() / "own-presets")
    folder.folder.mkdir(exist_ok=True)
    (folder.folder / "mine.yaml").write_bytes(raw)
    with in_time(), suppress(WhisperSlimError):
        folder.load("mine")


@many(0.24)
@given(st.data())
def test_manifests(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    suffix, between = data.draw(st.sampled_from([(".tsv", "\t"), (".csv", ","), (".jsonl", "")]))
    columns = data.draw(
        st.lists(
            st.sampled_from(["path", "text", "speaker", "split", "duration", "", "x\ufeff"]),
            max_size=6,
        )
    )
    cell = st.text(max_size=15) | st.sampled_from(
        ["a.wav", "../a.wav", "/etc/passwd", "nan", "-1", "1e400", '"', '""', "\r", "\0", "#", "~"]
    )
    rows = data.draw(st.lists(st.lists(cell, max_size=7), max_size=5))
    if suffix == ".jsonl":
        text = "\n".join(
            json.dumps(dict(zip(columns, row, strict=False)), ensure_ascii=False) for row in rows
        )
    else:
        text = "\n".join(between.join(row) for row in [columns, *rows])
    folder = tmp_path_factory.getbasetemp() / "manifests"
    folder.mkdir(exist_ok=True)
    path = folder / f"manifest{suffix}"
    content = text.encode("utf-8", "surrogatepass")
    path.write_bytes(content if data.draw(st.booleans()) else spoil(path, content, data.draw))
    with in_time(), suppress(WhisperSlimError):
        manifest_hash(load_items(f"{path}{data.draw(st.sampled_from(['', '#train', '#']))}"))


@pytest.fixture(scope="module")
def recordings() -> dict[str, bytes]:
    kinds = {
        "wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "mp4": "aac", "ogg": "libopus",
        "matroska": "aac", "mpegts": "aac", "caf": "pcm_s16be", "aiff": "pcm_s16be",
    }  # fmt: skip
    return {container: encoded(container, codec, 0.3) for container, codec in kinds.items()}


@many(0.28)
@given(st.data())
def test_recordings(recordings: dict[str, bytes], data: st.DataObject) -> None:
    raw = spoil_bytes(recordings[data.draw(st.sampled_from(sorted(recordings)))], data.draw)
    with in_time(), suppress(AudioError):
        assert abs(decode(raw)).max() <= 1.0


def test_the_files_that_are_spoiled_can_be_read(ground: Path) -> None:
    """Else a reader that refuses everything would pass."""
    whole = {"list", "environment", "data", "plan", "planned", "facts", "tuned", "slim", "report"}
    for reader in sorted(whole):
        READERS[reader](RunDir(runs_of(ground)[0]))
    decode(io.BytesIO(encoded("wav", "pcm_s16le")).getvalue())
