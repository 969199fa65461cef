"""A place that cannot be written to is reported in words, before the work where there is much."""

import errno
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.commands.test_cli import Done, cli  # noqa: F401
from tests.jobs.process.test_faults import mount, small_disk
from tests.support.runs.fake_runs import make_run
from whisperslim.errors import RunError
from whisperslim.jobs.pricing.profiles import check_kept, profile_path
from whisperslim.jobs.run.disk import disk_errors, require_writable
from whisperslim.jobs.scoring import evaluation as evaluation_jobs

Cli = Callable[..., Done]
NO_FILE, NO_FOLDER = (
    "there is a folder in place of a file",
    "there is a file in place of a folder",
)
HEADER = "key\treference\thypothesis\n"


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """A folder with a folder `held` and a file `taken` in it."""
    (tmp_path / "held").mkdir()
    (tmp_path / "taken").write_text("mine")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "reported"),
    [("held", NO_FILE), (".", NO_FILE), ("taken/a", NO_FOLDER), ("taken/a/b", NO_FOLDER)],
)
def test_a_place_of_another_kind_is_reported(places: Path, name: str, reported: str) -> None:
    with pytest.raises(RunError, match=reported):
        require_writable(places / name)


@pytest.mark.parametrize("name", ["new", "taken", "held/new", "deep/er/new"])
def test_looking_at_a_good_place_makes_and_changes_nothing(places: Path, name: str) -> None:
    require_writable(places / name)
    assert sorted(path.name for path in places.rglob("*")) == ["held", "taken"]
    assert (places / "taken").read_text() == "mine"


def test_a_disk_that_may_only_be_read_is_reported_before_the_work(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk"):
        mount("-o", "remount,ro", str(tmp_path / "disk"))
        with pytest.raises(RunError, match="no permission to write; make the folder writable"):
            require_writable(tmp_path / "disk" / "new" / "record.json")


def test_the_name_reported_is_that_which_was_asked_for(places: Path) -> None:
    (places / "temporary").write_text("")
    with pytest.raises(RunError, match=f"^{places / 'held'}: {NO_FILE}"), disk_errors(places):
        (places / "temporary").replace(places / "held")


def test_what_is_no_matter_of_the_place_passes(places: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_errors(places):
        (places / "missing").read_text()


@pytest.fixture
def unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test when a model would be scored."""
    monkeypatch.setattr(evaluation_jobs, "evaluate_model", lambda *_, **__: pytest.fail("scored"))


@pytest.mark.parametrize(
    ("arguments", "code", "reported"),
    [
        (("--json", "held"), 1, NO_FILE),
        (("--json", "."), 1, NO_FILE),
        (("--json", "taken/out.json"), 1, NO_FOLDER),
        (("--json", "texts_held.json"), 1, NO_FILE),
        (("--json", "out.tsv"), 2, "another ending, as in out.json"),
        (("--against", "empty.json"), 2, "holds no clip"),
        (("--against", "taken"), 2, "name the file that --json wrote"),
        (("--against", "."), 2, "name the file that --json wrote"),
        (("--json", "good.json", "--against", "good.json"), 2, "would overwrite"),
    ],
)
def test_evaluate_refuses_its_places_before_it_scores(
    cli: Cli,  # noqa: F811
    places: Path,
    unscored: None,
    arguments: tuple[str, ...],
    code: int,
    reported: str,
) -> None:
    (places / "texts_held.tsv").mkdir()
    (places / "empty.tsv").write_text(HEADER)
    (places / "good.tsv").write_text(f"{HEADER}a\tb\tc\n")
    done = cli("evaluate", "--model", "m", "--data", "d", *arguments)
    assert done.code == code and reported in done.err and not done.out


def test_figures_are_printed_though_their_file_cannot_be_written(
    cli: Cli,  # noqa: F811
    places: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(path: Path) -> None:
        raise RunError("the disk is full")

    score = {"wer": 0.25, "wer_interval_95": (0.2, 0.3), "cer": 0.1}
    record = {"scores": {"raw": score}}
    found = SimpleNamespace(to_record=lambda: record, notes=lambda: [], write_record=full)
    monkeypatch.setattr(evaluation_jobs, "evaluate_model", lambda *_, **__: found)
    manifest = places / "d.tsv"
    manifest.write_text("path\ttext\na.wav\tक\n", "utf-8")
    done = cli("evaluate", "--model", "m", "--data", str(manifest), "--json", "out.json")
    assert done.code == 1 and "the disk is full" in done.err and "25.00%" in done.out


@pytest.mark.parametrize(
    ("arguments", "reported"),
    [
        (("report", "RUN", "held"), NO_FILE),
        (("report", "RUN", "taken/report.html"), NO_FOLDER),
        (("compress", "quick-demo", "--runs", "taken"), NO_FOLDER),
        (("compress", "quick-demo", "--runs", "taken/runs"), NO_FOLDER),
        (("queue", "--keep", "--runs", "taken"), NO_FOLDER),
    ],
)
def test_commands_tell_a_place_of_another_kind(
    cli: Cli,  # noqa: F811
    places: Path,
    arguments: tuple[str, ...],
    reported: str,
) -> None:
    run = make_run(places / "runs", "first")
    done = cli(*(str(run.path) if part == "RUN" else part for part in arguments))
    assert done.code == 1 and reported in done.err


def test_a_profile_without_a_place_is_reported_before_it_is_measured(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(places / "taken"))
    with pytest.raises(RunError, match=NO_FOLDER):
        check_kept("torch")
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(places / "held"))
    profile_path("torch").mkdir(parents=True)
    with pytest.raises(RunError, match=NO_FILE):
        check_kept("torch")


@pytest.mark.parametrize(
    "arguments",
    [("export", "m", "shut/out", "--engine", "hf"), ("trim", "m", "shut/out", "--language", "hi")],
)
def test_a_folder_that_may_not_be_looked_into_is_reported(
    cli: Cli,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    usual = Path.exists

    def exists(path: Path) -> bool:
        if path == Path("shut/out"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return usual(path)

    monkeypatch.setattr(Path, "exists", exists)  # root, who may run the tests, may look anywhere
    done = cli(*arguments)
    assert done.code == 1 and "shut/out: no permission to write" in done.err
