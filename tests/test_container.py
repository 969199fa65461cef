"""The container's files, by the rules that linters of them have; none of them is run here."""

import json
import re
import shlex
from pathlib import Path
from typing import Any, cast

import click
import pytest
import yaml
from typer.main import get_command

from whisperslim.cli import app

ROOT = Path(__file__).parents[1]
COMMAND_LINE = cast(click.Group, get_command(app)).commands
_IMAGE = re.compile(r"[\w./-]+:[\w.-]*\d[\w.-]*")  # a tag with a version in it


def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments, continued lines joined, comments dropped."""
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", " ")
    pairs = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(first.upper(), " ".join(rest.split())) for first, rest in pairs]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    begin = max(i for i, (name, _) in enumerate(found) if name == "FROM")
    return found[begin:]


def services() -> dict[str, dict[str, Any]]:
    found = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    made: dict[str, dict[str, Any]] = found["services"]
    return made


def test_images_are_pinned_and_of_one_release() -> None:
    images = [rest.split()[0] for name, rest in instructions() if name == "FROM"]
    assert len(images) == 2 and len(set(images)) == 1
    assert all(_IMAGE.fullmatch(image) for image in images), images


def test_it_runs_as_nobody_in_particular_and_says_how_it_is() -> None:
    found = last_stage()
    users = [rest for name, rest in found if name == "USER"]
    assert users and users[-1].isdigit() and int(users[-1]) >= 10_000, "a number orchestrators know"
    assert f"--uid {users[-1]}" in " ".join(rest for name, rest in found if name == "RUN")
    names = [name for name, _ in found]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert names.count("HEALTHCHECK") == names.count("CMD") == names.count("ENTRYPOINT") == 1
    assert dict(found)["STOPSIGNAL"] == "SIGTERM"


def test_nothing_is_fetched_but_by_pip_and_everything_copied_is_there() -> None:
    for name, rest in instructions():
        assert name not in ("ADD", "MAINTAINER", "SHELL"), f"{name} {rest}"
        assert not re.search(r"\b(curl|wget|sudo|apt|apt-get|chmod 777)\b", rest), rest
        if name == "COPY" and not rest.startswith("--from"):
            *sources, _ = rest.split()
            assert all((ROOT / source).exists() for source in sources), rest
        if name == "WORKDIR":
            assert rest.startswith("/")
        if name == "RUN" and "pip install" in rest:
            assert "==" in rest or "--constraint requirements.txt" in rest, "exact releases"


def test_only_what_is_needed_is_sent_to_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert lines[0] == "*", "nothing, but:"
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {
        source
        for name, rest in instructions()
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert let_in == copied


def test_the_commands_are_ones_that_there_are() -> None:
    usual = json.loads(dict(last_stage())["CMD"])
    for words in (usual, *(each["command"] for each in services().values())):
        COMMAND_LINE[words[0]].make_context(words[0], list(words[1:]))
    entry = json.loads(dict(last_stage())["ENTRYPOINT"])
    assert entry == ["whisperslim"]


@pytest.mark.parametrize("name", ["app", "server"])
def test_a_service_is_guarded(name: str) -> None:
    service = services()[name]
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "devices"} & service.keys()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    # A secret that was not set ends the start, with a sentence.
    assert all(re.fullmatch(r"\$\{\w+:\?.+\}", each) for each in service["environment"].values())
    port = service["ports"][0].rpartition(":")[2]
    own = service.get("healthcheck", {}).get("test", ["CMD", dict(last_stage())["HEALTHCHECK"]])
    assert own[0] == "CMD" and f"http://127.0.0.1:{port}/" in own[-1], "else that of the image"
    assert port in dict(last_stage())["EXPOSE"].split()


def test_volumes_are_declared_and_in_the_image() -> None:
    found = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    inside = set(json.loads(dict(last_stage())["VOLUME"]))
    for service in found["services"].values():
        for each in service["volumes"]:
            source, target, *_ = each.split(":")
            assert target in inside
            assert source.startswith("./") or source in found["volumes"]
    made = " ".join(rest for name, rest in last_stage() if name == "RUN")
    assert inside <= set(shlex.split(made)), "owned by whoever runs it"


def test_an_app_and_a_server_that_others_reach_ask_for_a_secret() -> None:
    """Those of the commands themselves: without the variables they would not start."""
    for service, variable in (("app", "WHISPERSLIM_AUTH"), ("server", "WHISPERSLIM_API_KEY")):
        assert "0.0.0.0" in services()[service]["command"]
        assert variable in services()[service]["environment"]
