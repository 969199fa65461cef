"""Who may reach the app, and how: only this computer, unless its owner allows more."""

import hmac
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from whisperslim.errors import UsageError
from whisperslim.listening.address import (
    LOOPBACK,
    SHORTEST_SECRET,
    checked_address,
    checked_certificate,
    first_line,
    is_all_addresses,
    is_loopback,
    own_names,
)
from whisperslim.ui.guard.folders import Folders, listening_folders

LOGIN_VARIABLE = "WHISPERSLIM_AUTH"


@dataclass(frozen=True)
class Login:
    """The one name and password to log in with."""

    user: str
    password: str

    def admits(self, user: str, password: str) -> bool:
        """Whether these match; takes as long for a wrong password as for the right one."""
        given, own = f"{user}\0{password}", f"{self.user}\0{self.password}"
        return hmac.compare_digest(given.encode("utf-8", "replace"), own.encode())

    def __repr__(self) -> str:
        # A password must never get into a log.
        return f"Login({self.user!r})"


@dataclass(frozen=True)
class Access:
    """How the app is served.

    Attributes:
        address: Where it listens; by default only this computer.
        login: Required when set.
        certificate, key: PEM files for https.
        folders: Folders that paths from the page may be in; None: those of this computer's owner.
        proxy: The address whose headers are trusted on who sent a request; None: no address.
    """

    address: str = LOOPBACK
    login: Login | None = None
    certificate: str | None = None
    key: str | None = None
    folders: Folders | None = None
    proxy: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this computer can reach it."""
        return is_loopback(self.address) and self.proxy is None

    @property
    def checker(self) -> Callable[[str, str], bool] | None:
        """What Gradio asks at the login."""
        return self.login.admits if self.login else None

    @property
    def hosts(self) -> frozenset[str] | None:
        """Host names that a browser may use, besides `any_address`; None: any.

        A page elsewhere that gives its own name this computer's address cannot bring the cookie of
        a login, so with one any name will do.
        """
        return None if self.login else own_names(self.address)

    @property
    def any_address(self) -> bool:
        """Whether a browser may have asked for any IP address of this computer."""
        return is_all_addresses(self.address)

    def warnings(self) -> tuple[str, ...]:
        """What the owner should know before serving this way."""
        if self.is_local:
            return ()
        found = []
        if self.login is None:
            found.append(
                "anyone who reaches this address can use the app, play recordings and start runs"
            )
        if self.certificate is None and self.proxy is None:
            found.append(
                "without --tls-cert and --tls-key, passwords and recordings are sent unencrypted, "
                "and browsers give the page no microphone"
            )
        return tuple(found)


LOCAL = Access()
"""Served to this computer only."""


def access(
    address: str = LOOPBACK,
    *,
    login: Login | None = None,
    unsafe: bool = False,
    certificate: Path | None = None,
    key: Path | None = None,
    folders: Sequence[Path] = (),
    proxy: str = "",
) -> Access:
    """Checked together. Raises `UsageError` when it would open the app to strangers."""
    name = checked_address(address)
    chain = checked_certificate(certificate, key)
    named = tuple(_folder(path) for path in folders)
    if not is_loopback(name) and login is None and not unsafe:
        raise UsageError(
            f"--listen {address} opens the app to other computers, so it needs a password: give "
            f"--auth USER:FILE, or set {LOGIN_VARIABLE}=USER:PASSWORD; or --unsafe-no-auth, to let "
            "everyone on that network use it"
        )
    if proxy and login is None:
        raise UsageError(
            "--behind-proxy opens the app to everyone who reaches the proxy, so it needs a "
            "password: "
            f"give --auth USER:FILE, or set {LOGIN_VARIABLE}=USER:PASSWORD"
        )
    alone = is_loopback(name) and not proxy
    allowed = Folders().with_more(*named) if alone else listening_folders(named)
    behind = checked_address(proxy, "--behind-proxy") if proxy else None
    return Access(name, login, *chain, allowed, behind)


def read_login(typed: str, environment: Mapping[str, str] = os.environ) -> Login | None:
    """From `USER:FILE`, whose first line is the password, or else from the environment.

    A password on the command line could be read by every user of the computer. Raises `UsageError`
    when it is malformed or too short, or others may read the file.
    """
    if typed:
        user, file = _two(typed, "--auth", "USER:FILE")
        return _login(user, first_line(Path(file).expanduser(), "--auth"))
    if given := environment.get(LOGIN_VARIABLE, ""):
        return _login(*_two(given, LOGIN_VARIABLE, "USER:PASSWORD", secret=True))
    return None


def _two(typed: str, where: str, form: str, *, secret: bool = False) -> tuple[str, str]:
    user, colon, rest = typed.partition(":")
    if not user.strip() or not colon or not rest:
        shown = "its value" if secret else repr(typed)
        raise UsageError(f"{where}: {shown} is not of the form {form}")
    return user.strip(), rest


def _login(user: str, password: str) -> Login:
    if len(password) < SHORTEST_SECRET:
        raise UsageError(
            f"the password of {user!r} has fewer than {SHORTEST_SECRET} characters; choose a "
            "longer one"
        )
    return Login(user, password)


def _folder(path: Path) -> Path:
    if not path.expanduser().is_dir():
        raise UsageError(f"--folder {path}: no such folder")
    return path
