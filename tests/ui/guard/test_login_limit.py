"""The password cannot be tried fast, and nobody is locked out by somebody else's tries."""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.support.app.served import served
from whisperslim.errors import UsageError
from whisperslim.ui.guard.access import Access, Login, access
from whisperslim.ui.guard.logins import KNOWN_COOKIE, LoginLimit
from whisperslim.ui.guard.refusals import RefusedError

SECRET = "correct horse battery"
LOGIN = Login("asha", SECRET)
RIGHT = {"username": "asha", "password": SECRET}


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with served(tmp_path, Access(login=LOGIN)) as address:
        yield address


@pytest.fixture
def behind_proxy(tmp_path: Path) -> Iterator[str]:
    with served(tmp_path, Access(login=LOGIN, proxy="127.0.0.1")) as address:
        yield address


def try_to_log_in(address: str, count: int, sender: str = "10.0.0.{}") -> list[int]:
    """The statuses of `count` wrong passwords, each with another sender in the headers."""
    found = []
    with httpx.Client(base_url=address, timeout=60) as client:
        for number in range(count):
            said = {"x-forwarded-for": sender.format(number), "x-forwarded-host": "["}
            wrong = {"username": "asha", "password": f"wrong {number}"}
            found.append(client.post("/login", data=wrong, headers=said).status_code)
    return found


def test_a_header_makes_nobody_somebody_else(address: str) -> None:
    assert set(try_to_log_in(address, 40)[10:]) == {429}


def test_whoever_waits_as_asked_gets_in(address: str) -> None:
    assert 429 in try_to_log_in(address, 20)
    for form in ({"data": RIGHT}, {"files": {name: (None, v) for name, v in RIGHT.items()}}):
        with httpx.Client(base_url=address, timeout=60) as client:
            answer = client.post("/login", **form)  # type: ignore[arg-type]
            while answer.status_code == 429:
                time.sleep(int(answer.headers["retry-after"]))
                answer = client.post("/login", **form)  # type: ignore[arg-type]
            assert answer.status_code == 200 and client.get("/config").status_code == 200


def test_a_browser_that_logged_in_before_does_not_wait_for_others(address: str) -> None:
    with httpx.Client(base_url=address, timeout=60) as owner:
        assert owner.post("/login", data=RIGHT).status_code == 200
        owner.cookies = httpx.Cookies({KNOWN_COOKIE: owner.cookies[KNOWN_COOKIE]})
        assert 429 in try_to_log_in(address, 20)
        assert owner.post("/login", data=RIGHT).status_code == 200


def test_behind_a_proxy_each_sender_is_counted(behind_proxy: str) -> None:
    # What comes before the last comma was there before the proxy saw the request.
    with httpx.Client(base_url=behind_proxy, timeout=60) as client:
        for first in range(12):
            said = {"x-forwarded-for": f"10.9.9.{first}, 10.0.0.1"}
            answer = client.post("/login", data={**RIGHT, "password": "no"}, headers=said)
        assert answer.status_code == 429
        said = {"x-forwarded-for": "10.9.9.9, 10.0.0.2", "x-forwarded-host": "slim.example"}
        assert client.post("/login", data=RIGHT, headers=said).status_code == 200


def test_behind_a_proxy_the_page_has_the_proxys_name(behind_proxy: str) -> None:
    said = {"x-forwarded-for": "10.0.0.1", "x-forwarded-host": "slim.example",
            "x-forwarded-proto": "https"}  # fmt: skip
    page = httpx.get(behind_proxy, headers=said, timeout=60).text
    assert '"root":"https://slim.example"' in page
    broken = httpx.get(behind_proxy, headers={**said, "x-forwarded-host": "["}, timeout=60)
    assert broken.status_code == 403


def test_a_proxy_lets_nobody_in_without_a_password() -> None:
    with pytest.raises(UsageError, match=r"--behind-proxy.*--auth"):
        access(proxy="127.0.0.1", unsafe=True)
    with pytest.raises(UsageError, match="--behind-proxy 'somewhere'"):
        access(proxy="somewhere", login=LOGIN)
    behind = access(proxy="127.0.0.1", login=LOGIN)
    assert not behind.is_local and behind.folders is not None
    assert Path.home().resolve() not in behind.folders.roots


# --- the count itself -------------------------------------------------------------------------


def refusals(limit: LoginLimit, now: list[float], places: list[str]) -> int:
    """How many of these tries are refused, one a second."""
    count = 0
    for place in places:
        now[0] += 1.0
        try:
            limit.begin(place)
        except RefusedError as refused:
            assert refused.status == 429 and int(refused.headers["Retry-After"]) > 0
            count += 1
    return count


def test_waits_grow_to_sixteen_seconds_and_no_further() -> None:
    now = [0.0]
    limit = LoginLimit(lambda: now[0])
    # Five free tries, then waits of 1, 2, 4, 8 and 16 s after the one before. The account's waits,
    # of which the first comes after ten tries, are the shorter ones until then.
    taken = []
    for second in range(200):
        now[0] = float(second)
        try:
            limit.begin("somewhere")
        except RefusedError:
            continue
        taken.append(second)
    gaps = [after - before for before, after in pairwise(taken)]
    assert gaps[:9] == [1, 1, 1, 1, 1, 2, 4, 8, 16] and set(gaps[9:]) == {16}


def test_many_places_together_are_slowed_as_one() -> None:
    now = [0.0]
    places = [f"10.0.{each // 250}.{each % 250}" for each in range(2000)]
    # Ten free tries, then 1, 2, 4, 8, 16, 16, ... s: of the 1990 s left, (1990 - 15) / 16 = 123
    # more, and the first four.
    refused = refusals(LoginLimit(lambda: now[0]), now, places)
    assert 2000 - refused == pytest.approx(10 + 4 + 124, abs=2)


def test_tries_are_forgotten() -> None:
    now = [0.0]
    limit = LoginLimit(lambda: now[0])
    refusals(limit, now, ["somewhere"] * 30)
    now[0] += 901.0
    assert refusals(limit, now, ["somewhere"] * 5) == 0


def test_networks_of_ipv6_are_one_place() -> None:
    from whisperslim.ui.guard.proxy import place_of

    def place(address: str) -> str:
        return place_of({"client": (address, 1)})

    assert place("2001:db8::1") == place("2001:db8::ffff:1") != place("2001:db8:0:1::1")
    assert place("10.0.0.1") != place("10.0.0.2")
