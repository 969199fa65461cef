"""Many clients at once: whether anything is lost, how long they wait, how much speech is heard.

    python -m benchmarks.engines.serving SLIM --peer FOLDER

Our server runs both: the model SLIM, and faster-whisper in int8 with the dense model in FOLDER
(CTranslate2's form). Each of `--clients` sends `--rounds` recordings, one after the other, and
waits as Retry-After says when the queue is full. Every text is compared with that of the same
recording sent alone. The two are measured one after the other, on the same machine.
"""

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.engines.served_peer import OURS
from benchmarks.shared.provenance import provenance, write_result
from whisperslim.machine.places import ASSETS
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.corpus.dataset import load_items

ADDRESS = "/v1/audio/transcriptions"
PATIENCE_SECONDS = 1800.0
_SYSTEMS: dict[str, tuple[str, dict[str, str]]] = {
    "ours": (OURS, {"window": "fit"}),
    "faster-whisper int8": ("faster-whisper", {"compute_type": "int8"}),
}


@dataclass
class Tally:
    """The outcome of all clients' requests."""

    seconds: list[float] = field(default_factory=list)
    audio: float = 0.0
    refusals: int = 0
    wrong: int = 0
    lost: list[str] = field(default_factory=list)

    def record(self, wall: float) -> dict[str, Any]:
        """For the stored result; `wall` seconds passed in all."""
        ordered = sorted(self.seconds)
        found: dict[str, Any] = {
            "answered": len(ordered),
            "lost": len(self.lost),
            "lost_said": sorted(set(self.lost))[:3],
            "other_text_than_alone": self.wrong,
            "refused_and_tried_again": self.refusals,
            "wall_seconds": wall,
            "audio_seconds_per_second": self.audio / wall,
        }
        if ordered:
            found["median_seconds"] = ordered[len(ordered) // 2]
            found["p95_seconds"] = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        return found


def main() -> None:
    """Serve, ask, store."""
    asked = _arguments()
    clips = [item.path for item in load_items(asked.data)][: asked.clips]
    paths = {"ours": asked.slim, "faster-whisper int8": asked.peer}
    rows = []
    for name, (kind, options) in _SYSTEMS.items():
        more = ["--options", json.dumps(options), "--threads", str(asked.threads)]
        more += ["--waiting", str(asked.waiting), "--language", asked.language]
        with _served([kind, str(paths[name])], more) as (address, process):
            row = asyncio.run(_asked(address, clips, asked.clients, asked.rounds))
            row["memory_bytes"] = process.memory_full_info().uss
        rows.append({"system": name, "model": paths[name].name, **row})
        print(json.dumps(rows[-1], indent=1))
    record = {
        "what": "many clients at once before our server: waits, losses, seconds of speech heard "
        "in a second",
        "clients": asked.clients,
        "rounds": asked.rounds,
        "clips": len(clips),
        "audio_seconds": sum(map(_seconds, clips)),
        "rows": rows,
        "note": asked.note,
        **provenance(asked.threads),
    }
    print(write_result(asked.out, record))


@contextmanager
def _served(words: list[str], more: list[str]) -> Iterator[tuple[str, psutil.Process]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    module = [sys.executable, "-m", "benchmarks.engines.served_peer"]
    child = subprocess.Popen([*module, *words, str(port), *more])
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, child)
        yield address, psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait()


def _wait_for(address: str, child: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 300
    while child.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError("the server did not begin; it says why above")


def _seconds(clip: Path) -> float:
    return len(decode(clip)) / SAMPLE_RATE


async def _asked(address: str, clips: Sequence[Path], clients: int, rounds: int) -> dict[str, Any]:
    sounds = [clip.read_bytes() for clip in clips]
    lengths = [_seconds(clip) for clip in clips]
    limits = httpx.Limits(max_connections=None)
    tally = Tally()
    async with httpx.AsyncClient(
        base_url=address, timeout=PATIENCE_SECONDS, limits=limits
    ) as client:
        alone = [(await _send(client, sound)).json()["text"] for sound in sounds]

        async def one(number: int) -> None:
            for turn in range(rounds):
                which = (number + turn) % len(sounds)
                text = await _answered(client, sounds[which], tally)
                if text is not None:
                    tally.audio += lengths[which]
                    tally.wrong += text != alone[which]

        started = time.perf_counter()
        await asyncio.gather(*(one(number) for number in range(clients)))
        return tally.record(time.perf_counter() - started)


async def _answered(client: httpx.AsyncClient, sound: bytes, tally: Tally) -> str | None:
    """The text; None: it was lost. Waiting after a refusal counts, since the client waits, too."""
    started = time.perf_counter()
    while True:
        try:
            answer = await _send(client, sound)
        except httpx.TransportError as error:
            tally.lost.append(type(error).__name__)
            return None
        if answer.status_code != 429:
            break
        tally.refusals += 1
        await asyncio.sleep(float(answer.headers["retry-after"]))
    if answer.status_code != 200:
        tally.lost.append(answer.text[:200])
        return None
    tally.seconds.append(time.perf_counter() - started)
    return str(answer.json()["text"])


async def _send(client: httpx.AsyncClient, sound: bytes) -> httpx.Response:
    return await client.post(ADDRESS, data={"model": "m"}, files={"file": sound})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slim", type=Path, help="our model: an export, a run or a folder")
    parser.add_argument("--peer", type=Path, required=True, help="folder for faster-whisper")
    parser.add_argument("--data", default=str(ASSETS / "demo_hi"), help="recordings to send")
    parser.add_argument("--clips", type=int, default=10, help="how many of them")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=4, help="recordings that each client sends")
    parser.add_argument("--waiting", type=int, default=64, help="requests that may wait")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--language", default="hi")
    parser.add_argument("--out", default="serving", help="name of the record")
    parser.add_argument("--note", default="", help="free text stored with the record")
    return parser.parse_args()


if __name__ == "__main__":
    main()
