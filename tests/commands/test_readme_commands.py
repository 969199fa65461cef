"""Every command line that the documentation prints is run, on a tiny model and a tiny corpus.

A command that is not known here fails: nothing is documented that is not tried.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from tests.browser.conftest import free_port
from tests.support.tiny import tiny_model_folder, write_tone
from tests.support.tiny_run import finished_run
from whisperslim.cli import app
from whisperslim.engines.export import parity, parity_child
from whisperslim.engines.web.runtime_files import FILES, VERSION
from whisperslim.jobs.run.folder import RunStatus
from whisperslim.jobs.sizes import measure

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
_FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"(?:\.venv/bin/)?(?:whisperslim|python -m|make)\s")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_OPTION = re.compile(r"--[a-z][a-z-]+")


def commands_in(text: str) -> list[str]:
    """The command lines of fenced blocks, continuations joined, comments dropped."""
    blocks = "\n".join(_FENCE.findall(text)).replace("\\\n", " ")
    lines = [_COMMENT.sub("", line.strip().removeprefix("$ ")) for line in blocks.splitlines()]
    return [" ".join(line.split()) for line in lines if _COMMAND.match(f"{line} ")]


COMMANDS = list(dict.fromkeys(c for page in PAGES for c in commands_in(page.read_text("utf-8"))))


COMMAND_LINE = cast(click.Group, get_command(app)).commands


def test_commands_are_found_as_a_shell_would_read_them() -> None:
    text = """
```
whisperslim data a#train    # what is in it
.venv/bin/whisperslim compress x --set a.b='["c#d"]' \\
    --set e=f
# whisperslim nothing
make demo
```
whisperslim outside of a block
```sh
$ python -m tool --flag
other thing
```
"""
    assert commands_in(text) == [
        "whisperslim data a#train",
        ".venv/bin/whisperslim compress x --set a.b='[\"c#d\"]' --set e=f",
        "make demo",
        "python -m tool --flag",
    ]


@dataclass
class Workplace:
    """A folder in which the documentation's paths are there: `path/to/corpus`, `runs/RUN`.

    `openai/whisper-base` is a tiny model in a cache of its own, so that commands run as printed.
    """

    folder: Path

    def call(self, words: list[str]) -> Result:
        """Run a command in the folder."""
        with chdir(self.folder):
            return CliRunner().invoke(app, words)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    folder = tmp_path_factory.mktemp("workplace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPERSLIM_CACHE", str(folder / "cache"))
        patch.setenv("WHISPERSLIM_OFFLINE", "1")
        # Loading torch again for each export takes most of its time; other tests do it.
        patch.setattr(parity, "run_child", lambda exchange, timeout: parity_child.main(exchange))
        patch.setattr(measure, "LATENCY_CLIPS", 1)
        patch.setattr(measure, "LATENCY_PASSES", 1)
        furnish(folder)
        yield Workplace(folder)


def furnish(folder: Path) -> None:
    # A plan that every engine can hold.
    run = finished_run(folder / "made", export={"engine": "ctranslate2"}, runtime={"threads": 1})
    for name in ("path/to", "runs"):
        (folder / name).mkdir(parents=True)
    # Other sizes of it are for torch again: an export of each would take most of a sweep's time.
    recipe = run.path / "recipe.yaml"
    recipe.write_text(recipe.read_text("utf-8").replace("engine: ctranslate2", "engine: torch"))
    run.path.rename(folder / "runs" / "RUN")
    shutil.copytree(folder / "made" / "corpus", folder / "path" / "to" / "corpus")
    write_tone(folder / "recording.wav", seconds=0.7, pitch=300)
    for name in ("password", "password-file", "api-key"):
        (folder / name).touch(0o600)
        (folder / name).write_text("a-long-enough-password\n", "utf-8")
    tiny_model_folder(folder / "cache" / "models" / "openai--whisper-base")
    for name in FILES:  # of ONNX Runtime Web, which is copied here and never run
        place = folder / "cache" / "onnxruntime-web" / VERSION / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()


def really(*more: str) -> Callable[[Workplace, list[str]], None]:
    """Run it as printed, with `more` behind it to keep it short."""

    def check(place: Workplace, words: list[str]) -> None:
        done = place.call([*words, *more])
        assert done.exit_code == 0, (done.output, done.exception)

    return check


def options_alone(place: Workplace, words: list[str]) -> None:
    """What needs a network or a microphone: every option and argument is accepted."""
    with chdir(place.folder):
        COMMAND_LINE[words[0]].make_context(words[0], words[1:])


def serves(place: Workplace, words: list[str]) -> None:
    """The app answers at its address and ends in good order."""
    with serving(place, words, "", signal.SIGINT):
        pass


@contextmanager
def serving(
    place: Workplace, words: list[str], path: str, ended_by: signal.Signals
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """The address of what is started as printed, on a port of its own, and its process."""
    port = free_port()
    child = subprocess.Popen(
        [sys.executable, "-m", "whisperslim", *words, "--port", str(port)],
        cwd=place.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert answers(f"http://127.0.0.1:{port}{path}", child)
        yield f"127.0.0.1:{port}", child
    finally:
        child.send_signal(ended_by)
        try:
            _, said = child.communicate(timeout=60)
        finally:
            child.kill()  # one that did not end would outlive the tests
    assert b"Traceback" not in said, said


def answers(address: str, child: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + 120
    while child.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    return False


def is_shared(place: Workplace, words: list[str]) -> None:
    """Password, certificate and address are accepted; the server itself is left out."""
    from whisperslim.ui.app import build

    make_certificate(place.folder)
    seen: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "launch", lambda runs, **rest: seen.append(rest["access"]))
        done = place.call(words)
    assert done.exit_code == 0, (done.output, done.exception)
    (access,) = seen
    assert access.address == words[words.index("--listen") + 1]
    assert not access.warnings(), "as printed, sharing is safe"


def make_certificate(folder: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("a certificate is made with openssl, which is not here")
    request = "req -x509 -newkey rsa:2048 -nodes -subj /CN=here -keyout key.pem -out cert.pem"
    made = subprocess.run(["openssl", *request.split()], cwd=folder, capture_output=True)
    assert made.returncode == 0, made.stderr


@contextmanager
def transcribing(place: Workplace, words: list[str]) -> Iterator[str]:
    """The address of a transcription server, started as printed on a port of its own."""
    with serving(place, words, "/health", signal.SIGTERM) as (address, child):
        yield address
    assert child.returncode == 0


def transcribes(place: Workplace, words: list[str]) -> None:
    """The server answers at its address and ends in good order."""
    with transcribing(place, words):
        pass


def is_shared_by_key(place: Workplace, words: list[str]) -> None:
    """Key, certificate and address are accepted; the server itself is left out."""
    from whisperslim.server import serve

    make_certificate(place.folder)
    seen: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "run", lambda service, where, **rest: seen.append(where))
        done = place.call([*words, "--port", str(free_port())])
    assert done.exit_code == 0, (done.output, done.exception)
    (where,) = seen
    assert where.key and not where.warnings(), "as printed, sharing is safe"


def is_a_target(place: Workplace, words: list[str]) -> None:
    """`make` knows it."""
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout, done.stderr


def has_help(place: Workplace, words: list[str]) -> None:
    """A module that can be run, and knows every option that is printed."""
    done = subprocess.run(
        [sys.executable, "-m", words[0], "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert set(_OPTION.findall(" ".join(words))) <= set(_OPTION.findall(done.stdout))


# A run of two steps with nothing before and after.
_SHORT = [
    "prepare.steps=0", "train.steps=2", "train.batch_size=4", "train.warmup_steps=0",
    "train.evaluate_every=0", "recover.steps=0", "evaluate.dev_limit=2", "runtime.device=cpu",
    "runtime.threads=1",
]  # fmt: skip
_ONE_CLIP = ("--clips", "1", "--data", "path/to/corpus#test")
# Beginning of a command -> how it is checked. The longest that fits counts.
CHECKS: dict[str, Callable[[Workplace, list[str]], None]] = {
    "make": is_a_target,
    "python -m benchmarks.": has_help,
    "whisperslim cache": really(),
    "whisperslim compare": really(),
    "whisperslim compress": really(*(word for each in _SHORT for word in ("--set", each))),
    "whisperslim data": really(),
    "whisperslim evaluate": really(),
    "whisperslim evaluate --ray": options_alone,
    "whisperslim export": really(*_ONE_CLIP),
    "whisperslim fetch": options_alone,
    "whisperslim inspect": really(),
    "whisperslim presets": really(),
    "whisperslim push": options_alone,
    "whisperslim record": options_alone,
    "whisperslim replan": really(),
    "whisperslim report": really(),
    "whisperslim runs": really(),
    "whisperslim serve": transcribes,
    "whisperslim serve --listen": is_shared_by_key,
    "whisperslim sweep": really(),
    # Tried by tests/commands/test_cli_recipes.py and tests/jobs/grid/test_ray.py.
    "whisperslim sweep recipes": options_alone,
    "whisperslim sweep --ray": options_alone,
    "whisperslim transcribe": really(),
    "whisperslim trim": really(),
    "whisperslim ui": serves,
    "whisperslim ui --listen": is_shared,
}


def outputs_before(command: str) -> list[str]:
    """The exports that a command speaks of, which others before it have made."""
    earlier = (other for other in COMMANDS if other.startswith("whisperslim export"))
    words = [part for word in shlex.split(command) for part in word.split("=")]
    return [other for other in earlier if other != command and shlex.split(other)[3] in words]


def make_exports(command: str, workplace: Workplace) -> None:
    for other in outputs_before(command):
        if not (workplace.folder / shlex.split(other)[3]).exists():
            test_a_printed_command_works(other, workplace)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_printed_command_works(command: str, workplace: Workplace) -> None:
    plain = command.removeprefix(".venv/bin/")
    make_exports(command, workplace)
    known = [begin for begin in CHECKS if plain.startswith(begin)]
    assert known, f"{command!r} is documented and not known to {Path(__file__).name}: add a check"
    begin = max(known, key=len)
    words = shlex.split(plain)
    CHECKS[begin](workplace, words[2:] if words[0] == "python" else words[1:])


def test_the_examples_of_the_python_page_work_one_after_the_other(workplace: Workplace) -> None:
    page = ROOT / "docs" / "api.md"
    blocks = _PYTHON.findall(page.read_text("utf-8"))
    assert blocks
    names: dict[str, Any] = {}
    with chdir(workplace.folder):
        for block in blocks:
            exec(compile(block, page.name, "exec"), names)
    assert names["run"].status() == RunStatus.FINISHED


def test_the_examples_of_the_servers_page_work(
    workplace: Workplace, capfd: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "server.md").read_text("utf-8")
    first = next(each for each in COMMANDS if each.startswith("whisperslim serve slim-onnx"))
    make_exports(first, workplace)
    with transcribing(workplace, shlex.split(first)[1:]) as address:
        there = text.replace("127.0.0.1:8000", address)
        for line in (line for line in there.splitlines() if line.startswith("curl ")):
            if not shutil.which("curl"):
                pytest.skip("curl is not here")
            done = subprocess.run(
                [*shlex.split(line), "--fail-with-body", "--silent"], cwd=workplace.folder,
                capture_output=True, timeout=120,
            )  # fmt: skip
            assert done.returncode == 0 and done.stdout, (line, done)
        names: dict[str, Any] = {}
        with chdir(workplace.folder):
            for block in _PYTHON.findall(there):
                exec(compile(block, "server.md", "exec"), names)
        assert names["found"].duration == pytest.approx(0.7)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in _links(page):
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name}: {link}"
        if heading:
            assert heading in _anchors(target), f"{page.name}: {link}"


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    readme = ROOT / "README.md"
    assert len(readme.read_text("utf-8").splitlines()) <= 250
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in _links(readme)}
    assert {page for page in PAGES if page != readme} <= linked


def _links(page: Path) -> list[str]:
    text = _FENCE.sub("", page.read_text("utf-8"))
    return [link for link in _LINK.findall(text) if "://" not in link]


def _anchors(page: Path) -> set[str]:
    """Names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_named_in_the_text_is_one_of_its_command(page: Path) -> None:
    text = _FENCE.sub("", page.read_text("utf-8"))
    for span in re.findall(r"`([^`\n]+)`", text):
        name = span.removeprefix("whisperslim ").split()[0]
        if name not in COMMAND_LINE:
            assert not span.startswith("whisperslim "), f"{page.name}: no command {name!r}"
            continue
        known = {option for each in COMMAND_LINE[name].params for option in each.opts}
        assert set(_OPTION.findall(span)) <= known, f"{page.name}: {span}"
