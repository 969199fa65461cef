"""Whatever ends abruptly, job or app, the page finds the run again and can go on with it.

The app is a process of its own here, as on a person's computer. The tests build on one another.
"""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.conftest import chromium_with_microphone, free_port
from tests.browser.test_journey import tab
from tests.support.runs.forked import new_run, tiny_values, until
from whisperslim.jobs.process import child as process
from whisperslim.jobs.run.folder import RunDir, RunStatus

pytestmark = pytest.mark.browser
PATIENCE = 120_000
# So many steps that no run ends by itself while it is looked at.
LONG = {"steps": 20_000, "batch_size": 2, "evaluate_every": 0, "checkpoint_every": 10}


@dataclass
class Computer:
    """A folder of runs with one run, and the app that looks at it."""

    folder: Path
    run: RunDir
    apps: list[subprocess.Popen[bytes]] = field(default_factory=list)
    address: str = ""

    def open_app(self) -> str:
        address = f"http://127.0.0.1:{(port := free_port())}"
        runs = str(self.run.path.parent)
        command = [sys.executable, "-m", "whisperslim", "ui", "--port", str(port), "--runs", runs]
        environment = {**os.environ, "WHISPERSLIM_CACHE": str(self.folder / "cache")}
        with (self.folder / "app.log").open("ab") as log:
            app = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.apps.append(app)
        until(lambda: app.poll() is not None or _answers(address))
        assert app.poll() is None, (self.folder / "app.log").read_text("utf-8")[-2000:]
        self.address = address
        return address


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=30):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _ended(worker: psutil.Process) -> bool:
    try:
        return worker.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="module")
def computer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    folder = tmp_path_factory.mktemp("survival")
    run = new_run(folder / "runs", tiny_values(folder, name="survivor", train=LONG))
    here = Computer(folder, run)
    yield here
    for app in here.apps:
        app.kill()
        app.wait()
    if process.is_alive(run):
        process.stop(run, force=True)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = chromium_with_microphone(playwright, tmp_path_factory.mktemp("none"))
        yield chromium
        chromium.close()


@contextmanager
def runs_tab(browser: Browser, address: str) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    tab(page, "Runs")
    yield page
    page.close()


def expect_state(page: Page, state: str) -> None:
    expect(page.locator("#run-card .ws-pill").first).to_have_text(state, timeout=PATIENCE)


def newest_step(run: RunDir) -> int:
    names = [path.name for path in run.checkpoints("tune").glob("step-*")]
    return max((int(re.sub(r"\D", "", name)) for name in names), default=0)


def test_a_killed_job_is_gone_on_with_from_its_step_and_two_pages_agree(
    computer: Computer, browser: Browser
) -> None:
    run, address = computer.run, computer.open_app()
    process.start_worker(run)
    with runs_tab(browser, address) as first, runs_tab(browser, address) as second:
        for page in (first, second):
            expect_state(page, "running")
        until(lambda: newest_step(run) >= 10)
        os.kill(run.worker_pid() or 0, signal.SIGKILL)
        for page in (first, second):
            expect_state(page, "died")
        step = newest_step(run)
        button = first.locator("#run-continue")
        expect(button).to_have_text(f"Resume from step {step} of tuning")
        button.click()
        for page in (first, second):
            expect_state(page, "running")
        until(lambda: newest_step(run) > step)


def test_a_killed_app_takes_no_job_with_it_and_finds_it_again(
    computer: Computer, browser: Browser
) -> None:
    pid = computer.run.worker_pid()
    computer.apps[-1].kill()
    computer.apps[-1].wait()
    step = newest_step(computer.run)
    until(lambda: newest_step(computer.run) > step)
    assert computer.run.worker_pid() == pid, "the job works on as if nothing had happened"
    with runs_tab(browser, computer.open_app()) as page:
        expect(page.locator("#run-card")).to_contain_text("survivor")
        expect_state(page, "running")


def test_stop_is_orderly_and_leaves_no_process(computer: Computer, browser: Browser) -> None:
    run = computer.run
    worker = psutil.Process(run.worker_pid())
    with runs_tab(browser, computer.address) as page:
        expect_state(page, "running")
        page.locator("#run-stop").click()
        expect_state(page, "stopped")
        step = newest_step(run)
        expect(page.locator("#run-continue")).to_have_text(f"Resume from step {step} of tuning")
    until(lambda: _ended(worker))
    assert run.status() == RunStatus.STOPPED
