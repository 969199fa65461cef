"""OpenAI's own client against a tiny model: what programs that know OpenAI's server will see."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.server.scripted import serving
from tests.support.tiny import tiny_model_folder, write_tone
from whisperslim.engines.base import Transcript
from whisperslim.engines.opening import open_transcriber
from whisperslim.engines.transcripts import to_srt
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.window import hearing_window

KEY = "a-key-of-twelve-or-more"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client")
    tiny_model_folder(folder / "model")
    write_tone(folder / "clip.wav", seconds=0.7, pitch=300)
    return folder


@pytest.fixture(scope="module")
def heard(place: Path) -> Transcript:
    engine = open_transcriber(str(place / "model"), hearing_window("fit"))
    return engine.telling_words().transcribe(decode(place / "clip.wav"))


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    engine = open_transcriber(str(place / "model"), hearing_window("fit"))
    with serving(engine, key=KEY) as (_, url):
        yield f"{url}/v1"


@pytest.fixture(scope="module")
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=address, api_key=KEY, max_retries=0)


def test_the_text_is_that_of_the_engine(
    client: openai.OpenAI, place: Path, heard: Transcript
) -> None:
    assert heard.text
    with (place / "clip.wav").open("rb") as file:
        found = client.audio.transcriptions.create(model="m", file=file, language="hi")
    assert found.text == heard.text
    file = place / "clip.wav"
    plain = client.audio.transcriptions.create(model="m", file=file, response_format="text")
    assert plain == f"{heard.text}\n"
    srt = client.audio.transcriptions.create(model="m", file=file, response_format="srt")
    assert srt == to_srt(heard)


def test_times_come_as_the_client_has_them(
    client: openai.OpenAI, place: Path, heard: Transcript
) -> None:
    found = client.audio.transcriptions.create(
        model="m", file=place / "clip.wav", response_format="verbose_json",
        timestamp_granularities=["word", "segment"], temperature=0.0,
    )  # fmt: skip
    assert found.duration == pytest.approx(0.7) and found.text == heard.text
    assert found.words and [(w.word, w.start, w.end) for w in found.words] == [
        (w.text, w.start, w.end) for w in heard.words
    ]
    assert found.segments and found.segments[0].text


def test_a_stream_ends_with_the_whole_text(
    client: openai.OpenAI, place: Path, heard: Transcript
) -> None:
    stream = client.audio.transcriptions.create(
        model="m", file=place / "clip.wav", language="hi", stream=True
    )
    *parts, last = list(stream)
    assert [each.type for each in parts] == ["transcript.text.delta"]
    assert last.type == "transcript.text.done" and last.text == heard.text


def test_errors_are_those_the_client_knows(
    client: openai.OpenAI, place: Path, address: str, tmp_path: Path
) -> None:
    clip, nothing = place / "clip.wav", tmp_path / "empty.wav"
    nothing.touch()
    assert [each.id for each in client.models.list()] == ["m"]
    stranger = openai.OpenAI(base_url=address, api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.audio.transcriptions.create(model="m", file=clip)
    with pytest.raises(openai.NotFoundError) as missing:
        client.audio.transcriptions.create(model="whisper-1", file=clip)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        client.audio.transcriptions.create(model="m", file=nothing)
    assert (bad.value.code, bad.value.param) == ("invalid_audio", "file")
    with pytest.raises(openai.BadRequestError):
        client.audio.transcriptions.create(model="m", file=nothing, stream=True)
