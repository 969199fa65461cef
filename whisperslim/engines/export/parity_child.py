"""The process that runs an export to check it: `python -m …export.parity_child FOLDER`.

FOLDER holds the request and the features that `parity` put there; the answers go beside them.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from whisperslim.engines.export.parity import ANSWER_FILE, MELS_FILE, REQUEST_FILE, STATES_FILE
from whisperslim.engines.export.record import read_export
from whisperslim.engines.opening import open_here
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.errors import WhisperSlimError
from whisperslim.speech.audio.window import WindowPolicy


def main(exchange: Path) -> None:
    """Answer the request in `exchange`. An error a user can fix is an answer, too."""
    request = json.loads((exchange / REQUEST_FILE).read_text("utf-8"))
    try:
        answer = _hear_all(_open(request), request, exchange)
    except WhisperSlimError as error:
        answer = {"error": str(error)}
    (exchange / ANSWER_FILE).write_text(json.dumps(answer), "utf-8")


def _open(request: dict[str, Any]) -> WindowedTranscriber:
    folder = Path(request["folder"])
    record = read_export(folder)
    window = WindowPolicy(**request["window"])
    return open_here(folder, record, window, 0)


def _hear_all(
    engine: WindowedTranscriber, request: dict[str, Any], exchange: Path
) -> dict[str, Any]:
    texts: list[str] = []
    ids: list[list[int] | None] = []
    shown: dict[str, Any] = {}
    with np.load(exchange / MELS_FILE, allow_pickle=False) as mels:
        for index, seconds in enumerate(request["seconds"]):
            mel = mels[str(index)]
            heard = engine.hear(mel, seconds, request["language"])
            states = engine.encoder_states(mel)
            texts.append(heard.text)
            ids.append(None if heard.ids is None else [int(i) for i in heard.ids])
            if states is not None:
                shown[str(index)] = np.asarray(states, np.float32)
    np.savez(exchange / STATES_FILE, **shown)
    return {"texts": texts, "ids": ids}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
