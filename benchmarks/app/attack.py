"""How soon the app answers while it is attacked: uploads at once, and run folders that are bombs.

    python -m benchmarks.app.attack [--seconds 20]

The real app is started on an empty folder of runs. A client requests the page, and news of the runs
as an open page does, every 250 ms, whether or not earlier answers have come. First without an
attack, then in turn while 60 uploads of 50 MB come at once from ten addresses of this computer,
while many small files are uploaded one after another, and while the folder of runs is filled with
what an attacker may send: logs of 100 MB, records and recipes that grow when they are read, links,
pipes, 20,000 files in one. The attackers are a process of their own, which shares the CPU with the
app. Seconds are from the request to the end of the answer. Figures count only if the CPU was idle
before.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import psutil

from benchmarks.app.served import LOOK_AT, Served, look_of, served
from benchmarks.shared.provenance import provenance, write_result

API = "/gradio_api"
EVERY_SECONDS = 0.25
LONGEST_SECONDS = 30.0
LARGE, LARGE_BYTES, ADDRESSES = 60, 50_000_000, 10
SMALL = 2000
QUIET = 0.1  # share of the CPU that may be busy before, for the figures to count


@dataclass
class Answers:
    """Seconds of answered requests, and the others."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {"page": [], "runs": []})
    failed: list[str] = field(default_factory=list)


def main() -> None:
    """Attack in turn, and store the figures."""
    asked = _arguments()
    busy = psutil.cpu_percent(5.0) / 100
    with TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        runs.mkdir()
        attacks: dict[str, Callable[[str, Path], None] | None] = {
            "in peace": None, "large uploads": upload_large, "small uploads": upload_small,
            "run folders": fill_runs,
        }  # fmt: skip
        with served(runs) as app:
            config = httpx.get(f"{app.address}/config", timeout=10 * LONGEST_SECONDS).json()
            found = {
                name: _phase(app, runs, attack, asked.seconds, look_of(config))
                for name, attack in attacks.items()
            }
    record = {
        "what": "seconds to an answer while the app is attacked",
        "every_seconds": EVERY_SECONDS,
        "seconds_of_each": asked.seconds,
        "busy_before": round(busy, 3),
        "counts": busy < QUIET,
        "note": asked.note if busy < QUIET else "other programs ran; do not use the figures",
        "attacks": found,
        **provenance(0),
    }
    print(write_result("app_attack", record))


# --- the client -------------------------------------------------------------------------------


def _phase(
    app: Served,
    runs: Path,
    attack: Callable[[str, Path], None] | None,
    seconds: float,
    looks: dict[str, Any],
) -> dict[str, Any]:
    attacker, before = None, sum(app.process.cpu_times()[:2])
    if attack is not None:
        attacker = multiprocessing.get_context("spawn").Process(
            target=attack, args=(app.address, runs)
        )
        attacker.start()
    answers = asyncio.run(_ask_for(app.address, seconds, attacker, looks))
    if attacker is not None:
        attacker.kill()
        attacker.join()
    found: dict[str, Any] = {what: _summary(each) for what, each in answers.seconds.items()}
    found["processor_seconds"] = round(sum(app.process.cpu_times()[:2]) - before, 2)
    found |= {"failed": len(answers.failed), "first_failures": answers.failed[:3]}
    print(json.dumps(found), flush=True)
    return found


async def _ask_for(address: str, seconds: float, attacker: Any, looks: dict[str, Any]) -> Answers:
    """Send requests for `seconds`, or as long as the attack lasts, up to three times as long."""
    answers, asked = Answers(), []
    limits = httpx.Limits(max_connections=200)
    timeout = httpx.Timeout(LONGEST_SECONDS)
    async with httpx.AsyncClient(base_url=address, timeout=timeout, limits=limits) as client:
        started = time.perf_counter()
        while (gone := time.perf_counter() - started) < 3 * seconds:
            if gone >= seconds and (attacker is None or not attacker.is_alive()):
                break
            for what, ask in (("page", _page(client)), ("runs", _list(client, looks))):
                asked.append(asyncio.create_task(_timed(what, ask, answers)))
            await asyncio.sleep(EVERY_SECONDS)
        await asyncio.gather(*asked)
    return answers


async def _timed(what: str, ask: Any, answers: Answers) -> None:
    started = time.perf_counter()
    try:
        problem = await ask
    except httpx.HTTPError as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        answers.failed.append(f"{what}: {problem}")
    answers.seconds[what].append(time.perf_counter() - started)


async def _page(client: httpx.AsyncClient) -> str:
    answer = await client.get("/")
    return "" if answer.status_code == 200 else str(answer.status_code)


async def _list(client: httpx.AsyncClient, look: dict[str, Any]) -> str:
    answer = await client.post(LOOK_AT, json={**look, "session_hash": secrets.token_hex(8)})
    return "" if answer.status_code == 200 else f"{answer.status_code} {answer.text[:100]}"


def _summary(seconds: list[float]) -> dict[str, float]:
    found = np.asarray(seconds)
    return {
        "answers": len(seconds),
        "median": round(float(np.median(found)), 4),
        "p95": round(float(np.quantile(found, 0.95)), 4),
        "max": round(float(found.max()), 4),
    }


# --- attackers --------------------------------------------------------------------------------


def upload_large(address: str, runs: Path) -> None:
    """All at once, again and again until the process is ended; most are refused for lack of
    room."""
    content = os.urandom(LARGE_BYTES - 1000)
    asyncio.run(_upload_all(address, content))


async def _upload_all(address: str, content: bytes) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(_client(address, number)) for number in range(ADDRESSES)
        ]
        uploads = [_upload(clients[n % ADDRESSES], f"{n}.wav", content) for n in range(LARGE)]
        await asyncio.gather(*uploads)


def upload_small(address: str, runs: Path) -> None:
    """Empty files, one after another from each address."""
    asyncio.run(_upload_small(address))


async def _upload_small(address: str) -> None:
    async def from_one(number: int) -> None:
        async with _client(address, number) as client:
            for file in range(SMALL // ADDRESSES):
                await _upload(client, f"{file}.wav", b"%d" % file)

    await asyncio.gather(*map(from_one, range(ADDRESSES)))


def _client(address: str, number: int) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(local_address=f"127.0.0.{10 + number}")
    return httpx.AsyncClient(base_url=address, transport=transport, timeout=LONGEST_SECONDS)


async def _upload(client: httpx.AsyncClient, name: str, content: bytes) -> None:
    with contextlib.suppress(httpx.HTTPError):
        await client.post(f"{API}/upload", files={"files": (name, content)})


def fill_runs(address: str, runs: Path) -> None:
    """Run folders as an attacker may send them, some ordinary ones among them."""
    event = json.dumps({"kind": "notice", "at": 1.0, "message": "x" * 200}) + "\n"
    started = json.dumps({"kind": "run_started", "at": 1.0, "name": "r", "pid": 1, "stages": []})
    aliases = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    for number in range(5):
        folder = _hostile(runs, f"log-{number}")
        with (folder / "events.jsonl").open("w") as log:
            log.write(started + "\n")
            for _ in range(100_000_000 // len(event) // 1000):
                log.write(event * 1000)
        _hostile(runs, f"recipe-{number}", "a0: &a0 [x]\n" + aliases)
        _hostile(runs, f"deep-{number}", "[" * 100_000)
        deep = _hostile(runs, f"record-{number}")
        (deep / "plan.json").write_text("[" * 1_000_000 + "]" * 1_000_000)
        (deep / "groups.json").write_text(json.dumps([0] * 5_000_000))
        (_hostile(runs, f"link-{number}") / "out").symlink_to("/")
        os.mkfifo(_hostile(runs, f"pipe-{number}") / "log.txt")
    many = _hostile(runs, "many") / "files"
    many.mkdir()
    for number in range(20_000):
        (many / str(number)).touch()


def _hostile(runs: Path, name: str, recipe: str = "name: x\n") -> Path:
    folder = runs / f"20300101-000000-{name}"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(recipe)
    return folder


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each attack, at least")
    parser.add_argument("--note", default="", help="free text stored with the record")
    return parser.parse_args()


if __name__ == "__main__":
    main()
