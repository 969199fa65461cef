"""The app on all addresses with a certificate: nothing of a login goes over plain http."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.app.served import served
from whisperslim.ui.guard.access import Login, access

SECRET = "correct horse battery"
RIGHT = {"username": "asha", "password": SECRET}


@dataclass(frozen=True)
class Encrypted:
    """An app that is served over https, and the certificate to know it by."""

    address: str
    trust: ssl.SSLContext


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    if not shutil.which("openssl"):
        pytest.skip("a certificate is made with openssl, which is not here")
    asked = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=here",
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key),
             "-out", str(certificate)]  # fmt: skip
    subprocess.run(["openssl", *asked], check=True, capture_output=True)
    login = Login("asha", SECRET)
    open_to_all = access("0.0.0.0", login=login, certificate=certificate, key=key)
    with served(folder, open_to_all) as address:
        yield Encrypted(address, ssl.create_default_context(cafile=str(certificate)))


def test_a_login_works_over_https_and_its_cookies_stay_there(app: Encrypted) -> None:
    with httpx.Client(base_url=app.address, verify=app.trust, timeout=60) as client:
        assert client.get("/config").status_code == 401
        answer = client.post("/login", data=RIGHT)
        assert answer.status_code == 200
        cookies = answer.headers.get_list("set-cookie")
        assert len(cookies) >= 2
        for cookie in cookies:
            assert "; secure" in cookie.lower() and "httponly" in cookie.lower()
        assert client.get("/config").status_code == 200


def test_plain_http_to_it_has_no_answer(app: Encrypted) -> None:
    url = httpx.URL(app.address)
    with socket.create_connection((url.host, url.port or 0), 60) as raw:
        raw.sendall(f"GET / HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n\r\n".encode())
        raw.settimeout(60)
        try:
            said = raw.recv(4096)
        except ConnectionResetError:
            said = b""
    assert b"HTTP" not in said and b"<html" not in said.lower()


def test_over_http_no_cookie_is_held_back(tmp_path: Path) -> None:
    login = access(login=Login("asha", SECRET))
    with served(tmp_path, login) as address, httpx.Client(base_url=address, timeout=60) as client:
        assert client.post("/login", data=RIGHT).status_code == 200
        assert client.get("/config").status_code == 200
