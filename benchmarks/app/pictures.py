"""Pictures of the app for the README and the pages: `assets/screenshots`.

    python -m benchmarks.app.pictures RUNS [--into FOLDER]

Compare shows the models that come with the project on the sample sentence, which is the project's
own; RUNS without a finished run is enough for it. Trade-off shows the newest finished run in RUNS,
at the size it was made in. The times in the picture are those of this machine, so nothing else
should run meanwhile.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.app.served import browser, fresh_page, served
from whisperslim.jobs.run.folder import RunStatus, list_runs

if TYPE_CHECKING:
    from playwright.sync_api import Page

_BOXED = "whisperslim/base-hi"
_PATIENCE_MS = 300_000


def main() -> None:
    """Serve, show, take."""
    asked = _arguments()
    asked.into.mkdir(parents=True, exist_ok=True)
    with served(asked.runs) as app, browser() as chromium:
        with fresh_page(chromium, app.address) as page:
            page.set_viewport_size({"width": 1280, "height": 1000})
            _compare(page)
            _take(page, asked.into / "compare.png")
        if not any(run.status() == RunStatus.FINISHED for run in list_runs(asked.runs)):
            print(f"{asked.runs} has no finished run: no picture of Trade-off")
            return
        with fresh_page(chromium, app.address) as page:
            page.set_viewport_size({"width": 1280, "height": 1000})
            page.get_by_role("tab", name="Trade-off", exact=True).click()
            page.locator("#tradeoff-tiles").wait_for(timeout=_PATIENCE_MS)
            _take(page, asked.into / "trade-off.png")


def _compare(page: "Page") -> None:
    """A second comparison is shown: the first loads both models."""
    page.get_by_text("Models, engines and options").click()
    page.wait_for_function("() => document.querySelector('#slim input')?.value")
    slim = page.locator("#slim input")
    if slim.input_value() != _BOXED:  # runs come first
        slim.click()
        page.get_by_role("option", name=_BOXED, exact=True).click()
        page.wait_for_timeout(3000)  # the dense side and the engines follow
    page.get_by_text("Models, engines and options").click()
    page.locator(".ws-sample").click()
    transcripts = page.locator(".ws-transcript")
    transcripts.nth(1).wait_for(timeout=_PATIENCE_MS)
    first = page.locator(".ws-stage").get_attribute("data-key")
    page.locator("#compare").click()
    again = f".ws-stage:not([data-key='{first}'])"
    page.locator(again).wait_for(timeout=_PATIENCE_MS)


def _take(page: "Page", path: Path) -> None:
    page.mouse.move(5, 5)
    page.wait_for_timeout(4000)  # charts settle, bars have run, the pointer's highlight goes
    page.screenshot(path=path)
    print(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder of runs")
    parser.add_argument("--into", type=Path, default=Path("assets/screenshots"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
