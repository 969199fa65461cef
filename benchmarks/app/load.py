"""Many users at once, and for long: how the app answers, and whether its memory grows.

    python -m benchmarks.app.load RUNS [--dense MODEL]
    python -m benchmarks.app.load RUNS [--dense MODEL] --minutes 30 --pause 5

What the page itself sends for one comparison, for the times of its words and for news of the runs
is recorded in a real Chromium. Comparisons of ten recordings, the first demo clips, one after
another and with nobody else there, are timed first. Then all is sent by many sessions:
`--comparisons` comparisons at one moment, of the same ten in turn, of which the median should wait
no longer than those ten took; after each, the times of its words; and by `--pollers` pages that
poll every two seconds until the last of that is answered. The sender shares the processor. With
`--minutes`, comparisons follow one another instead, `--pause` seconds apart, and the memory that
only the app holds is recorded every minute.
"""

import argparse
import asyncio
import itertools
import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.app.page import open_compare, opened_folder
from benchmarks.app.served import (
    LOOK_AT,
    Served,
    browser_hearing,
    fresh_page,
    served,
)
from benchmarks.shared.provenance import provenance, write_result
from whisperslim.ui.parts.demo_clips import CLIPS_FOLDER, demo_clips

API = "/gradio_api/queue"
CLIP = CLIPS_FOLDER / "audio" / "demo_000.ogg"
LOOK_SECONDS = 2.0  # the page's own timer
PATIENCE_SECONDS = 900.0

Bodies = dict[str, dict[str, Any]]
"""What a page sends, by what it is for."""


@dataclass
class Answers:
    """Seconds of answered requests, and what the others got."""

    seconds: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """For the stored result. Raises `RuntimeError` when nothing was answered."""
        if not self.seconds:
            raise RuntimeError(f"nothing was answered; the app said: {self.refused[:3]}")
        ordered = sorted(self.seconds)
        return {
            "answered": len(ordered),
            "refused": len(self.refused),
            "messages": sorted(set(self.refused))[:3],
            "median": ordered[len(ordered) // 2],
            "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
            "max": ordered[-1],
        }


def main() -> None:
    """Record, send, store."""
    asked = _arguments()
    with served(asked.runs, *opened_folder(asked.dense)) as app:
        bodies = _noted(app, asked)
        made = _memory(app, bodies, asked) if asked.minutes else _many(app, bodies, asked)
    name = "app_memory" if asked.minutes else "app_load"
    print(write_result(asked.out or name, {**made, **provenance(threads=0)}))


def _many(app: Served, bodies: Bodies, asked: argparse.Namespace) -> dict[str, Any]:
    before = app.memory()
    alone = asyncio.run(_one_by_one(app.address, bodies))
    spent = app.cpu_seconds()
    compared, timed, looked = asyncio.run(_load(app.address, bodies, asked))
    return {
        "what": "seconds until an answer, many sessions at once; memory the app alone holds",
        "ten_one_after_another": alone,
        "comparisons": compared.record(),
        "word_times": timed.record(),
        "looks": looked.record(),
        "cpu_seconds": app.cpu_seconds() - spent,
        "pollers": asked.pollers,
        "memory_before": before,
        "memory_after": app.memory(),
    }


def _memory(app: Served, bodies: Bodies, asked: argparse.Namespace) -> dict[str, Any]:
    return {
        "what": "bytes of memory the app alone holds while comparisons follow one another",
        "minutes": asked.minutes,
        "note": asked.note,
        "pause_seconds": asked.pause,
        "by_minute": asyncio.run(_for_long(app, bodies, asked)),
    }


def _noted(app: Served, asked: argparse.Namespace) -> Bodies:
    """The bodies a page sends for a comparison, for what follows it, and for news of the runs.

    From a real comparison.
    """
    sent: list[dict[str, Any]] = []
    looks: list[dict[str, Any]] = []

    def note(request: Any) -> None:
        if "/queue/join" in request.url:
            sent.append(json.loads(request.post_data))
        elif LOOK_AT in request.url and '"mark"' in request.post_data:
            looks.append(json.loads(request.post_data))

    with browser_hearing(CLIP) as browser, fresh_page(browser, app.address) as page:
        page.on("request", note)
        open_compare(page, asked.dense)
        page.locator("#clip input").click()
        page.locator("ul [role=option]").first.click()
        page.wait_for_selector("#recording audio, #recording #waveform", state="attached")
        page.wait_for_timeout(3000)  # the clip comes into the recorder
        page.locator("#compare").click()
        page.wait_for_function("() => document.querySelectorAll('.ws-transcript').length === 2")
        page.wait_for_timeout(3 * 1000 * LOOK_SECONDS)
        config = page.evaluate("() => window.gradio_config")
    engines, times = _component(config, "slim-engine"), _component(config, "word-times")
    offers = _events(config, lambda each: engines in each["outputs"])
    timings = _events(config, lambda each: times in each["outputs"] and len(each["inputs"]) == 2)
    found = {
        "offer": [body for body in sent if body["fn_index"] in offers],
        "compare": [body for body in sent if _is_recording(body["data"])],
        "time": [body for body in sent if body["fn_index"] in timings],
        "look": looks,
    }
    if not all(found.values()):
        raise RuntimeError(f"the page did not send all of {', '.join(found)}")
    return {what: bodies[-1] for what, bodies in found.items()}


def _component(config: dict[str, Any], name: str) -> int:
    made = config["components"]
    return next(each["id"] for each in made if each["props"].get("elem_id") == name)


def _events(config: dict[str, Any], wanted: Callable[[dict[str, Any]], bool]) -> set[int]:
    return {each["id"] for each in config["dependencies"] if wanted(each)}


def _is_recording(data: Sequence[Any]) -> bool:
    return any(isinstance(value, dict) and "path" in value for value in data)


async def _one_by_one(address: str, bodies: Bodies) -> float:
    """Seconds of ten comparisons while nobody else asks."""
    answers = Answers()
    async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_SECONDS) as client:
        session = await _session(client, bodies)
        for body in (await _spoken(client, bodies["compare"]))[:10]:
            await _compare(client, {**bodies, "compare": body}, answers, Answers(), session)
    if answers.refused:
        raise RuntimeError(f"comparisons were refused: {answers.refused[:3]}")
    return sum(answers.seconds)


async def _load(
    address: str, bodies: Bodies, asked: argparse.Namespace
) -> tuple[Answers, Answers, Answers]:
    compared, timed, looked = Answers(), Answers(), Answers()
    # The app ends a connection that is idle for 5 s, and one that it is ending is not to be used.
    limits = httpx.Limits(
        max_connections=None, max_keepalive_connections=None, keepalive_expiry=3.0
    )
    done = asyncio.Event()
    async with httpx.AsyncClient(
        base_url=address, timeout=PATIENCE_SECONDS, limits=limits
    ) as client:
        spoken = await _spoken(client, bodies["compare"])
        sessions = [await _session(client, bodies) for _ in range(asked.comparisons)]
        pollers = [
            asyncio.create_task(_poll(client, bodies["look"], looked, done, place / asked.pollers))
            for place in range(asked.pollers)
        ]
        await asyncio.sleep(LOOK_SECONDS)  # by then all of them poll
        many = [
            _compare(client, {**bodies, "compare": body}, compared, timed, session)
            for session, body in zip(sessions, itertools.cycle(spoken), strict=False)
        ]
        await asyncio.gather(*many)
        done.set()
        await asyncio.gather(*pollers)
    return compared, timed, looked


async def _compare(
    client: httpx.AsyncClient, bodies: Bodies, compared: Answers, timed: Answers, session: str
) -> None:
    """What a page sends: when words were said is asked for once the result is there."""
    await _ask(client, bodies["compare"], compared, session)
    await _ask(client, bodies["time"], timed, session)


async def _spoken(client: httpx.AsyncClient, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The comparison of each of ten recordings, which are uploaded: nobody has another's."""
    found = []
    for name, said in list(demo_clips().items())[:10]:
        content = (CLIPS_FOLDER / name).read_bytes()
        sent = await client.post("/gradio_api/upload", files={"files": (Path(name).name, content)})
        sent.raise_for_status()
        recording = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
        data = [recording if _is_recording([value]) else value for value in body["data"]]
        data[data.index(recording) + 1] = said
        found.append({**body, "data": data})
    return found


async def _poll(
    client: httpx.AsyncClient,
    body: dict[str, Any],
    answers: Answers,
    done: asyncio.Event,
    part: float,
) -> None:
    await asyncio.sleep(part * LOOK_SECONDS)
    session = secrets.token_hex(8)
    while not done.is_set():
        started = time.perf_counter()
        answer = await client.post(LOOK_AT, json={**body, "session_hash": session})
        if answer.status_code == 200:
            answers.seconds.append(time.perf_counter() - started)
        else:
            answers.refused.append(answer.text)
        await asyncio.sleep(max(0.0, LOOK_SECONDS - (time.perf_counter() - started)))


async def _session(client: httpx.AsyncClient, bodies: Bodies) -> str:
    """One that has been offered the models: a page may choose only among what it was shown."""
    session = secrets.token_hex(8)
    await _ask(client, bodies["offer"], Answers(), session)
    return session


async def _ask(
    client: httpx.AsyncClient, body: dict[str, Any], answers: Answers, session: str
) -> None:
    started = time.perf_counter()
    joined = await client.post(f"{API}/join", json={**body, "session_hash": session})
    if joined.status_code != 200:
        answers.refused.append(joined.text)
        return
    said: dict[str, Any] = {}
    async with client.stream("GET", f"{API}/data", params={"session_hash": session}) as stream:
        async for line in stream.aiter_lines():
            said = json.loads(line.removeprefix("data:")) if line.startswith("data:") else said
            if said.get("msg") in ("process_completed", "unexpected_error", "close_stream"):
                break
    if said.get("success"):
        answers.seconds.append(time.perf_counter() - started)
    else:
        answers.refused.append(str(said.get("output") or said.get("message") or said))


async def _for_long(app: Served, bodies: Bodies, asked: argparse.Namespace) -> list[dict[str, int]]:
    started = time.monotonic()
    noted: list[dict[str, int]] = []
    answers = Answers()
    async with httpx.AsyncClient(base_url=app.address, timeout=PATIENCE_SECONDS) as client:
        session = await _session(client, bodies)
        while time.monotonic() - started < 60 * asked.minutes:
            if time.monotonic() - started >= 60 * len(noted):
                noted.append({"comparisons": len(answers.seconds), "bytes": app.memory()})
            await _ask(client, bodies["compare"], answers, session)
            await asyncio.sleep(asked.pause)
    noted.append({"comparisons": len(answers.seconds), "bytes": app.memory()})
    if answers.refused:
        raise RuntimeError(f"comparisons were refused: {answers.refused[:3]}")
    return noted


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, help="folder of runs, with one that is finished")
    parser.add_argument("--dense", type=Path, help="folder of the dense model")
    parser.add_argument("--comparisons", type=int, default=20)
    parser.add_argument("--pollers", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--out", default="", help="name of the record, if not the usual one")
    parser.add_argument("--note", default="", help="free text stored with the record")
    return parser.parse_args()


if __name__ == "__main__":
    main()
