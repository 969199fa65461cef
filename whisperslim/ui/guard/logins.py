"""How often the password may be tried: ever more slowly, but no one is locked out.

Tries are counted for their address and for the one account, so neither many tries from one place
nor a few from each of many get far. A browser that has logged in before has its own count: while
someone tries passwords, its user still gets in at once.
"""

import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from whisperslim.ui.guard.refusals import RefusedError

KNOWN_COOKIE = "whisperslim-known"
_ACCOUNT = "account"
_FREE = {_ACCOUNT: 10}  # tries before there is any wait; our choice, as are the figures below
_FREE_OF_OTHERS = 5
_LONGEST_WAIT = 16.0  # seconds
_FORGOTTEN_SECONDS = 900.0  # after the last try
_MOST_PLACES, _MOST_KNOWN = 1000, 100
_KNOWN_SECONDS = 365 * 24 * 3600


@dataclass
class _Tries:
    count: int = 0
    last: float = -math.inf

    def wait(self, free: int, now: float) -> float:
        """Seconds until the next try is taken."""
        if now - self.last > _FORGOTTEN_SECONDS:
            self.count = 0
        if self.count < free:
            return 0.0
        delay = min(_LONGEST_WAIT, 2.0 ** min(self.count - free, 30))
        return max(0.0, self.last + delay - now)


@dataclass
class LoginLimit:
    """Recent tries. `clock` gives seconds."""

    clock: Callable[[], float] = time.monotonic
    _tries: OrderedDict[str, _Tries] = field(default_factory=OrderedDict)
    _known: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def begin(self, place: str, cookie: str = "") -> None:
        """Count one try. Raises `RefusedError` when it comes too soon; then it is not counted."""
        now, keys = self.clock(), self._keys(place, cookie)
        found = [self._of(key) for key in keys]
        wait = max(
            tries.wait(_FREE.get(key, _FREE_OF_OTHERS), now)
            for key, tries in zip(keys, found, strict=True)
        )
        if wait > 0:
            seconds = math.ceil(wait)
            raise RefusedError(429, f"too many attempts; try again in {seconds} s", seconds)
        for tries in found:
            tries.count, tries.last = tries.count + 1, now

    def succeed(self, place: str, cookie: str = "") -> bytes:
        """Uncount a try that was right; returns the cookie by which its browser is known."""
        for key in self._keys(place, cookie):
            tries = self._of(key)
            tries.count = max(0, tries.count - 1) if key == _ACCOUNT else 0
        token = secrets.token_urlsafe(16)
        self._known[token] = None
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        ends = f"Max-Age={_KNOWN_SECONDS}; Path=/login; HttpOnly; SameSite=Strict"
        return f"{KNOWN_COOKIE}={token}; {ends}".encode()

    def _keys(self, place: str, cookie: str) -> tuple[str, ...]:
        return (f"known {cookie}",) if cookie in self._known else (f"from {place}", _ACCOUNT)

    def _of(self, key: str) -> _Tries:
        tries = self._tries.setdefault(key, _Tries())
        self._tries.move_to_end(key)
        while len(self._tries) > _MOST_PLACES:
            self._tries.popitem(last=False)
        return tries
