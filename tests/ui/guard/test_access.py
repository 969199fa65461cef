"""Who may reach the app, and what it takes before others can."""

import os
import socket
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from tests.browser.conftest import free_port
from tests.support.app.served import serve
from whisperslim.core.fetch.sources import resolve
from whisperslim.errors import SourceError, UsageError
from whisperslim.listening.address import check_port, is_loopback
from whisperslim.machine.offline import VARIABLE
from whisperslim.ui.guard.access import (
    LOCAL,
    Access,
    Login,
    access,
    read_login,
)
from whisperslim.ui.guard.requests import Gate

SECRET = "correct horse battery"


def test_the_app_is_this_computers_alone_by_default() -> None:
    assert LOCAL.address == "127.0.0.1" and LOCAL.is_local and LOCAL.warnings() == ()
    assert LOCAL.hosts == {"localhost", "127.0.0.1", "[::1]"}


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.1.5", "::", "10.0.0.1"])
def test_other_computers_need_a_password_or_the_owners_word(address: str) -> None:
    with pytest.raises(UsageError, match="--auth"):
        access(address)
    assert access(address, unsafe=True).warnings()[0].startswith("anyone")
    known = access(address, login=Login("asha", SECRET))
    assert known.login is not None and "unencrypted" in known.warnings()[0]


@pytest.mark.parametrize(
    ("address", "own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("localhost.example", False), ("2130706433", False), ("", False)],
)  # fmt: skip
def test_loopback_is_reported_by_the_address(address: str, own: bool) -> None:
    assert is_loopback(address) is own


def answers_to(known: Access, host: str) -> bool:
    gate = Gate(PlainTextResponse("in"), hosts=known.hosts, any_address=known.any_address)
    status = TestClient(gate).get("/config", headers={"host": host}).status_code
    assert status in (200, 403)
    return status == 200


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "0:0::0"])
def test_on_all_addresses_every_address_opens_it_and_no_other_name(address: str) -> None:
    known = access(address, unsafe=True)
    for host in ("192.168.1.5:7860", "10.0.0.1", "[fe80::1]:7860", "[::1]", "localhost:7860"):
        assert answers_to(known, host)
    for host in (
        "evil.example:7860",
        "192.168.1.5.evil.example",
        "",
        "[evil]",
        "fe80::1",
        "[1.2.3.4]",
    ):
        assert not answers_to(known, host)
    with_login = access(address, login=Login("asha", SECRET))
    assert answers_to(with_login, "192.168.1.5:7860") and answers_to(with_login, "asha.local")


@pytest.mark.parametrize("address", ["127.0.0.1", "192.168.1.5"])
def test_on_one_address_others_do_not_open_it(address: str) -> None:
    known = access(address, unsafe=True)
    assert answers_to(known, f"{address}:7860") and not answers_to(known, "192.168.1.6:7860")


@pytest.mark.parametrize("address", ["example.org", "", "0", "127.0.0.1:80", "0.0.0.0 "])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="not an address"):
        access(address, unsafe=True)


def test_a_port_in_use_is_reported() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        for address in ("127.0.0.1", "0.0.0.0"):
            with pytest.raises(UsageError, match=f"port {taken} is in use.* --port N"):
                check_port(address, taken)
    check_port("127.0.0.1", taken)


def test_ports_and_addresses_that_are_none_are_reported() -> None:
    for port in (-1, 65_536):
        with pytest.raises(UsageError, match="from 1024 to 65535"):
            check_port("127.0.0.1", port)
    with pytest.raises(UsageError, match=r"one of its own addresses"):
        check_port("192.0.2.1", free_port())  # an address that documentation may name and no more


def test_a_password_comes_from_a_file_of_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\nsomething else\n")
    file.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        read_login(f"asha:{file}")
    file.chmod(0o600)
    assert read_login(f"asha:{file}") == Login("asha", SECRET)


def test_or_from_the_environment() -> None:
    assert read_login("", {"WHISPERSLIM_AUTH": f"asha:{SECRET}"}) == Login("asha", SECRET)
    assert read_login("", {}) is None


@pytest.mark.parametrize("typed", ["asha", ":file", "asha:", "asha:/nowhere/at/all"])
def test_malformed_logins_are_refused(typed: str) -> None:
    with pytest.raises(UsageError, match="--auth"):
        read_login(typed)


def test_no_message_repeats_a_password() -> None:
    for value in ("short", f"{SECRET}"):
        with pytest.raises(UsageError) as reported:
            read_login("", {"WHISPERSLIM_AUTH": value if value == SECRET else f"asha:{value}"})
        assert value not in str(reported.value)
    assert SECRET not in repr(Login("asha", SECRET))


def test_a_login_admits_its_own_pair_alone() -> None:
    login = Login("asha", SECRET)
    assert login.admits("asha", SECRET)
    for user, password in [("asha", SECRET[:-1]), ("", SECRET), ("ravi", SECRET), ("asha", "")]:
        assert not login.admits(user, password)


def test_certificate_and_key_go_together_and_must_be_such(tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.write_text("nothing of the kind")
    with pytest.raises(UsageError, match="go together"):
        access(certificate=pem)
    with pytest.raises(UsageError, match="PEM"):
        access(certificate=pem, key=pem)


def test_people_elsewhere_open_less_than_the_owner(tmp_path: Path) -> None:
    shared = access("0.0.0.0", unsafe=True, folders=[tmp_path]).folders
    own = access(folders=[tmp_path]).folders
    assert shared is not None and own is not None
    (tmp_path / "corpus").mkdir()
    assert shared.admit(str(tmp_path / "corpus")) == (tmp_path / "corpus").resolve()
    assert own.admit(str(Path.home() / "speech"))
    assert Path.home().resolve() not in shared.roots
    with pytest.raises(UsageError, match="no such folder"):
        access(folders=[tmp_path / "none"])


def test_offline_mode_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    said: list[str] = []
    with pytest.raises(SourceError):
        resolve("openai/whisper-base", cache=tmp_path, announce=said.append)
    assert sum("of offline mode" in line for line in said) == 2
    assert not any("asking" in line or "fetching" in line for line in said)


def test_usage_statistics_are_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    blocks, _ = serve(tmp_path)
    blocks.close()
    assert not blocks.analytics_enabled
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
