"""Data sets of the hub as its server answers for them."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.speech.corpus.archives.making import tone, wav
from tests.speech.corpus.remote.server import Server

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SET = "ai/voices"


def shard(folder: Path, numbers: range, column: str = "audio_filepath", **more: list) -> bytes:
    sounds = [{"bytes": wav(tone(n)), "path": f"{n}.wav"} for n in numbers]
    columns = {column: sounds, "text": [f"पाठ {n}" for n in numbers], **more}
    pq.write_table(pa.table(columns), folder / "made.parquet", row_group_size=2)
    return (folder / "made.parquet").read_bytes()


def answer(
    server: Server, files: dict[str, bytes], *, revision: str = "main", **more: object
) -> None:
    """As `/api/datasets/.../revision/...?blobs=true` has it, in what is read of it."""
    siblings = [{"rfilename": ".gitattributes", "size": 3}, *(
        {"rfilename": name, "size": len(content), "blobId": "b",
         "lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}}
        for name, content in files.items()
    )]  # fmt: skip
    listing = {"id": SET, "sha": COMMIT, "gated": False, "siblings": siblings, **more}
    server.answers[f"GET /api/datasets/{SET}/revision/{revision}?blobs=true"] = (200, listing)
    for name, content in files.items():
        server.answers[f"GET /datasets/{SET}/resolve/{COMMIT}/{name}"] = content
