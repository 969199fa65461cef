"""Transcripts in the forms of OpenAI's API."""

import json
import math
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from whisperslim.engines.base import Transcript
from whisperslim.engines.transcripts import Cue, cues, to_srt, to_vtt
from whisperslim.server.asked import Asked


def answer(transcript: Transcript, asked: Asked, language: str) -> Response:
    """The whole transcript in the form asked for."""
    if asked.form == "text":
        return PlainTextResponse(f"{transcript.text}\n")
    if asked.form == "srt":
        return PlainTextResponse(to_srt(transcript), media_type="application/x-subrip")
    if asked.form == "vtt":
        return PlainTextResponse(to_vtt(transcript), media_type="text/vtt")
    if asked.form == "json":
        return JSONResponse({"text": transcript.text, "usage": _usage(transcript)})
    return JSONResponse(_verbose(transcript, asked, language))


def event(kind: str, **more: Any) -> bytes:
    """One server-sent event. `kind` is OpenAI's name of it."""
    return f"data: {json.dumps({'type': kind, **more}, ensure_ascii=False)}\n\n".encode()


def delta(text: str) -> bytes:
    """More of the text."""
    return event("transcript.text.delta", delta=text)


def done(transcript: Transcript) -> bytes:
    """All of the text."""
    return event("transcript.text.done", text=transcript.text, usage=_usage(transcript))


def _usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(transcript.audio_seconds)}


def _verbose(transcript: Transcript, asked: Asked, language: str) -> dict[str, Any]:
    """With subtitles' pieces where words were timed, else with the parts it was heard in."""
    parts = cues(transcript) if asked.words else [Cue(*p) for p in transcript.segments if p[2]]
    found: dict[str, Any] = {
        "task": "transcribe",
        "language": language,
        "duration": transcript.audio_seconds,
        "text": transcript.text,
        "segments": [
            {"id": number, "start": each.start, "end": each.end, "text": each.text}
            for number, each in enumerate(parts)
        ],
        "usage": _usage(transcript),
    }
    if asked.words:
        found["words"] = [
            {"word": word.text, "start": word.start, "end": word.end} for word in transcript.words
        ]
    return found
