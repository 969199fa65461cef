"""Whatever comes from a browser, a file or a folder somebody sent: words for people, or nothing."""

import json
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.runs.fake_runs import make_groups, make_run, write_events, write_plan
from whisperslim.errors import AudioError, RunError, UsageError, WhisperSlimError
from whisperslim.jobs.recipe.recipe import from_mapping, load_recipe, with_values
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.planned import is_planned, read_planned
from whisperslim.machine.places import ASSETS
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.ui.compress.tab import forecast
from whisperslim.ui.context.choices import chosen_model
from whisperslim.ui.context.context import AppContext, for_people
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.guard.folders import Folders, refused_paths
from whisperslim.ui.guard.requests import RefusedError, check_address, check_json
from whisperslim.ui.runs.tab import NOTHING_DRAWN, lay_out_runs, look_at_runs
from whisperslim.ui.sparsity import tab as tab_sparsity

many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SCRIPT = "<script>alert(1)</script>"
NASTY = st.sampled_from(
    ["", ".", "..", "../../etc/passwd", "/etc/passwd", "~root/.ssh", "a\0b", "x" * 5000, SCRIPT,
     "file:///etc/passwd", "http://example.org/x", "%2e%2e/", "\\..\\..", "con\n", "-rf", "हिन्दी"]
)  # fmt: skip
ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | NASTY
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
SECTIONS = st.sampled_from(["name", "model", "target", "train", "data", "method", "language"])
PIECES = st.sampled_from(["..", ".", "a", "b", ".ssh", "link", "loop", "out", "~", "", "x" * 300])


# --- the gate ---------------------------------------------------------------------------------


@many
@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_a_body_is_finite_shallow_json_or_refused(body: bytes) -> None:
    try:
        check_json(body)
    except RefusedError as refused:
        assert refused.status == 400
        return
    text = json.dumps(json.loads(body), allow_nan=False, ensure_ascii=False)
    text.encode()  # no half characters


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b"[1e999]", b"[NaN]", b'["\\ud800"]', b"9" * 400, b"\xff", b"",
     b"[" + b"0," * 200_000 + b"0]", b"[" * 50 + b"]" * 50,
     b'{"data": [{"path": "http://example.org/a.wav", "meta": {"_type": "gradio.FileData"}}]}'],
)  # fmt: skip
def test_bodies_made_to_hurt_are_refused(body: bytes) -> None:
    with pytest.raises(RefusedError):
        check_json(body)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/gradio_api/proxy=http://example.org"), ("GET", "/gradio_api/file=http://a.b/c"),
     ("GET", "/gradio_api/file=http%3A%2F%2Fa.b"), ("GET", "/monitoring"), ("GET", "/docs"),
     ("GET", "/gradio_api/run-history/records"), ("POST", "/gradio_api/call/x"),
     ("PUT", "/"), ("DELETE", "/gradio_api/upload"), ("GET", "/dev/reload"),
     ("POST", "/gradio_api/stream/x"), ("GET", "/gradio_api/vibe-code/"), ("GET", "//etc/passwd")],
)  # fmt: skip
def test_addresses_that_the_page_does_not_use_are_not_there(method: str, path: str) -> None:
    with pytest.raises(RefusedError) as refused:
        check_address(method, path)
    assert refused.value.status == 404


# --- paths ------------------------------------------------------------------------------------


@pytest.fixture
def fence(tmp_path: Path) -> Path:
    """A folder with links that lead out of it, in circles, and one that stays inside."""
    root = tmp_path / "fence"
    (root / "a" / "b").mkdir(parents=True)
    (root / "link").symlink_to(root / "a")
    (root / "out").symlink_to("/etc")
    (root / "loop").symlink_to(root / "loop")
    return root


@many
@given(parts=st.lists(PIECES, max_size=6), start=st.sampled_from(["root", "/", "~", ""]))
def test_no_path_leads_over_the_fence(fence: Path, parts: list[str], start: str) -> None:
    first = str(fence) if start == "root" else start
    folders = Folders((fence.resolve(),))
    try:
        admitted = folders.admit("/".join([first, *parts]))
    except UsageError:
        return
    assert admitted.is_relative_to(fence.resolve()) and not admitted.is_symlink()
    assert not any(part.startswith(".") for part in admitted.relative_to(fence.resolve()).parts)


def test_links_are_followed_before_they_are_judged(fence: Path) -> None:
    folders = Folders((fence.resolve(),))
    assert folders.admit(str(fence / "link" / "b")) == (fence / "a" / "b").resolve()
    for typed in (fence / "out", fence / "out" / "passwd", fence / ".." / "x", fence / ".ssh"):
        with pytest.raises(UsageError, match="not in a folder that the page may open"):
            folders.admit(str(typed))


@many
@given(VALUES)
def test_model_and_run_names_are_what_is_offered_or_refused(tmp_path: Path, value: Any) -> None:
    app = AppContext(RunWatch(tmp_path / "runs"), folders=Folders((), beside_runs=False))
    with pytest.raises(WhisperSlimError):
        app.watch.open(value)
    if value != "openai/whisper-base":
        with pytest.raises(WhisperSlimError):
            chosen_model(app, value)


@pytest.mark.parametrize("field", ["model", "distill.teacher", "data.train", "data.test"])
def test_recipes_from_the_page_stay_inside(tmp_path: Path, field: str) -> None:
    outside: Any = ["/etc/passwd#train"] if field.startswith("data") else "/etc"
    recipe = with_values(load_recipe("quick-demo"), {field: outside})
    assert set(refused_paths(Folders((tmp_path,)).with_more(), recipe)) >= {field}
    own = with_values(load_recipe("quick-demo"), {"name": "own"})
    assert refused_paths(Folders(), own) == {}


UP = "a" + "/.." * 40


@pytest.mark.parametrize("field", ["model", "distill.teacher", "data.train"])
def test_no_message_tells_whether_a_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    (tmp_path / "inside" / "a").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret#x").mkdir()
    (tmp_path / "inside" / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path / "inside")
    folders = Folders((tmp_path / "inside",))
    reported = set()
    for way in (f"{UP}{tmp_path}", "a/../..", "..", "link", str(tmp_path)):
        for name in ("secret", "missing"):
            value: Any = f"{way}/{name}"
            given = [f"{value}#x"] if field.startswith("data") else value
            recipe = with_values(load_recipe("quick-demo"), {field: given})
            problem = refused_paths(folders, recipe).get(field, "")
            reported.add((way, problem.replace(name, "")))
            # A name such as presets have is looked for, and may be in no folder that is open.
            plain = field.startswith("data") and way == "link"
            assert (
                "was not found" if plain else "not in a folder that the page may open"
            ) in problem
    assert len(reported) == 5


def test_a_forecast_does_not_tell_whether_a_file_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inside" / "a").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    app = AppContext(RunWatch(tmp_path / "runs"), folders=Folders((), beside_runs=False))
    for way in (f"{UP}{tmp_path}", "a/../.."):
        pages = {
            forecast(app, f"{way}/{name}", 0.3, 0.0, "float16", languages)
            .replace(name, "")
            for name in ("secret", "missing")
            for languages in ((), ("hi",))
        }  # fmt: skip
        assert len(pages) == 1


def test_data_is_found_in_the_folder_of_the_app_and_in_the_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    shipped = load_recipe("quick-demo")
    assert refused_paths(Folders((ASSETS.resolve(),)), shipped) == {}
    own = with_values(
        shipped, {"data.train": ["mine#train"], "data.dev": ["mine"], "data.test": ["mine#test"]}
    )
    assert refused_paths(Folders((tmp_path,)), own) == {}
    missing = with_values(own, {"data.train": ["none#train"]})
    assert set(refused_paths(Folders((tmp_path,)), missing)) == {"data.train"}


# --- files ------------------------------------------------------------------------------------


@many
@given(st.dictionaries(st.text(max_size=8) | SECTIONS, VALUES, max_size=6))
def test_recipes_are_understood_or_refused(data: dict[str, Any]) -> None:
    try:
        from_mapping(data)
    except WhisperSlimError as error:
        assert "Traceback" not in str(error)


@many
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_manifests_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("m.tsv", "m.jsonl"):
        (tmp_path / name).write_bytes(content)
        try:
            items = load_items(str(tmp_path / name))
        except WhisperSlimError:
            continue
        assert all(not Path(item.key).is_absolute() for item in items)


@many
@given(head=st.sampled_from([b"", b"RIFF\xff\xff\xff\xffWAVEfmt ", b"fLaC", b"OggS", b"PK\x03\x04",
       b"#EXTM3U\n/etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n"]),
       tail=st.binary(max_size=200))  # fmt: skip
def test_uploads_are_sound_or_told(head: bytes, tail: bytes) -> None:
    try:
        sound = decode(head + tail, max_seconds=1.0)
    except AudioError:
        return
    assert np.isfinite(sound).all() and len(sound) <= 16_000


def test_sound_that_is_no_number_or_without_end_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    soundfile.write(file, np.array([0.0, np.nan, np.inf] * 1000), 16_000, subtype="FLOAT")
    with pytest.raises(AudioError):
        decode(file)
    # Ten minutes of silence take some kilobytes as FLAC: it is the sound that is counted.
    soundfile.write(tmp_path / "b.flac", np.zeros(16_000 * 600, np.int16), 16_000)
    assert (tmp_path / "b.flac").stat().st_size < 200_000
    with pytest.raises(AudioError, match="longer"):
        decode(tmp_path / "b.flac", max_seconds=120)


# --- run folders ------------------------------------------------------------------------------

RUN_FILES = ["recipe.yaml", "events.jsonl", "plan.json", "groups.json", "scores.safetensors",
             "log.txt", "worker.lock", "stages"]  # fmt: skip


@settings(many, max_examples=40)
@given(name=st.sampled_from(RUN_FILES), content=st.binary(max_size=200) | VALUES.map(
    lambda value: json.dumps(value).encode()), as_folder=st.booleans())  # fmt: skip
def test_a_run_that_somebody_sent_is_shown_or_told(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes, as_folder: bool
) -> None:
    runs = tmp_path_factory.mktemp("sent")
    run = make_run(runs)
    write_events(run, until="tune")
    write_plan(run, make_groups())
    spoil(run, name, content, as_folder)
    app = AppContext(RunWatch(runs))
    with gr.Blocks():
        tab = lay_out_runs()
    try:
        look_at_runs(tab, app, run.name, NOTHING_DRAWN)
        if is_planned(run):
            for_people(show_planned)(app, run)
    except (gr.Error, RunError) as error:
        assert "Traceback" not in str(error)


def show_planned(app: AppContext, run: RunDir) -> None:
    """As the Sparsity tab does."""
    planned = read_planned(run)
    tab_sparsity.slider_for(app, run, planned)
    tab_sparsity.drawings(planned, {})


def spoil(run: RunDir, name: str, content: bytes, as_folder: bool) -> None:
    path = run.path / name
    if path.is_file():
        path.unlink()
    if as_folder or path.is_dir():
        path.mkdir(exist_ok=True)
    else:
        path.write_bytes(content)


def test_a_run_with_a_link_to_elsewhere_is_no_run(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run = make_run(runs)
    run.log_path.symlink_to("/etc/passwd")
    with pytest.raises(RunError, match="is a link or not a plain file"):
        RunWatch(runs).open(run.name)


def test_names_and_texts_of_a_run_cannot_become_markup(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run = make_run(runs)
    write_events(run, until="tune")
    run.log_path.write_text(SCRIPT)
    hostile = run.path.rename(runs / f"x{SCRIPT.replace('/', '_')}")
    with gr.Blocks():
        tab = lay_out_runs()
    updates, _ = look_at_runs(tab, AppContext(RunWatch(runs)), hostile.name, NOTHING_DRAWN)
    pages = [each for each in updates.values() if isinstance(each, str)]
    assert pages and "<script" not in "".join(pages)
