"""Who may reach the app, and how: this computer alone, unless its owner says otherwise."""

import errno
import hmac
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from whisperslim.errors import UsageError
from whisperslim.ui.guard.folders import Folders, listening_folders

LOOPBACK = "127.0.0.1"
LOGIN_VARIABLE = "WHISPERSLIM_AUTH"
_OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_ALL_ADDRESSES = frozenset({"0.0.0.0", "::"})
_SHORTEST_PASSWORD = 12  # characters: our choice
_LONGEST_FILE = 4096  # bytes; a password file holds one line


@dataclass(frozen=True)
class Login:
    """The one name and password that let people in."""

    user: str
    password: str

    def admits(self, user: str, password: str) -> bool:
        """Whether these are they; takes as long for a wrong password as for the right one."""
        given, own = f"{user}\0{password}", f"{self.user}\0{self.password}"
        return hmac.compare_digest(given.encode("utf-8", "replace"), own.encode())

    def __repr__(self) -> str:
        # A password must never get into a log.
        return f"Login({self.user!r})"


@dataclass(frozen=True)
class Access:
    """How the app is served.

    Attributes:
        address: Where it listens; this computer's own by default.
        login: Asked for when set.
        certificate, key: PEM files for https.
        folders: That paths from the page may lead to; None: those of this computer's owner.
        proxy: The address whose headers say who is asking; None: nobody's do.
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
        """Names that a browser may have asked for, `any_address` aside; None: any.

        A page elsewhere can give its own name this computer's address ("DNS rebinding") and would
        then pass for this app's page. It cannot bring the cookie of a login, so with one any name
        will do.
        """
        return None if self.login else _OWN_NAMES | {_in_url(self.address)}

    @property
    def any_address(self) -> bool:
        """Whether a browser may have asked for any IP address, since all of this computer's serve.

        Rebinding needs a name, so a number is as safe as the names of `hosts`.
        """
        return self.address in _ALL_ADDRESSES

    def warnings(self) -> tuple[str, ...]:
        """What the owner should know before serving so."""
        if self.is_local:
            return ()
        found = []
        if self.login is None:
            found.append(
                "anybody who reaches this address can use the app, hear recordings and start runs"
            )
        if self.certificate is None and self.proxy is None:
            found.append(
                "without --tls-cert and --tls-key, passwords and recordings travel in the clear, "
                "and browsers give the page no microphone"
            )
        return tuple(found)


LOCAL = Access()
"""Served to this computer alone."""


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
    name = _address(address)
    chain = _certificate(certificate, key)
    named = tuple(_folder(path) for path in folders)
    if not is_loopback(name) and login is None and not unsafe:
        raise UsageError(
            f"--listen {address} opens the app to other computers, so it needs a password: give "
            f"--auth USER:FILE, or set {LOGIN_VARIABLE}=USER:PASSWORD; or --unsafe-no-auth, where "
            "everybody on that network may use it"
        )
    if proxy and login is None:
        raise UsageError(
            "--behind-proxy opens the app to whoever reaches the proxy, so it needs a password: "
            f"give --auth USER:FILE, or set {LOGIN_VARIABLE}=USER:PASSWORD"
        )
    alone = is_loopback(name) and not proxy
    allowed = Folders().with_more(*named) if alone else listening_folders(named)
    behind = _address(proxy, "--behind-proxy") if proxy else None
    return Access(name, login, *chain, allowed, behind)


def check_port(address: str, port: int) -> None:
    """Raise `UsageError` unless `port` of `address`, an IP address, is there and nobody's."""
    # Gradio looks at this computer's own address whichever it is to listen on.
    for each in dict.fromkeys((LOOPBACK, address)):
        family = socket.AF_INET6 if ":" in each else socket.AF_INET
        with socket.socket(family) as probe:
            # What an app that has just ended leaves behind holds no port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((each, port))
            except OverflowError as error:
                raise UsageError(f"--port {port}: a port is from 1024 to 65535") from error
            except OSError as error:
                raise UsageError(_no_port(each, port, error)) from error


def _no_port(address: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; is the app open already? Else name another with --port N"
    if error.errno == errno.EACCES:
        return f"port {port} may not be used; name one from 1024 to 65535 with --port N"
    return (
        f"--listen {address}: this computer cannot listen there ({error.strerror}); give one of "
        "its own addresses, or 0.0.0.0 for all of them"
    )


def read_login(typed: str, environment: Mapping[str, str] = os.environ) -> Login | None:
    """From `USER:FILE`, whose first line is the password, or else from the environment.

    A password on the command line could be read by every user of the computer. Raises `UsageError`
    when it is malformed, too short, or the file is open to others.
    """
    if typed:
        user, file = _two(typed, "--auth", "USER:FILE")
        return _login(user, _first_line(Path(file).expanduser()))
    if given := environment.get(LOGIN_VARIABLE, ""):
        return _login(*_two(given, LOGIN_VARIABLE, "USER:PASSWORD", secret=True))
    return None


def is_loopback(address: str) -> bool:
    """Whether an address is this computer's own."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def _address(typed: str, option: str = "--listen") -> str:
    if typed == "localhost":
        return LOOPBACK
    try:
        return str(ipaddress.ip_address(typed.strip("[]")))
    except ValueError as error:
        raise UsageError(
            f"{option} {typed!r} is no address; give one such as 192.168.1.5"
            + (", or 0.0.0.0 for all of this computer's" if option == "--listen" else "")
        ) from error


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _two(typed: str, where: str, form: str, *, secret: bool = False) -> tuple[str, str]:
    user, colon, rest = typed.partition(":")
    if not user.strip() or not colon or not rest:
        shown = "its value" if secret else repr(typed)
        raise UsageError(f"{where}: {shown} is not of the form {form}")
    return user.strip(), rest


def _login(user: str, password: str) -> Login:
    if len(password) < _SHORTEST_PASSWORD:
        raise UsageError(
            f"the password of {user!r} has fewer than {_SHORTEST_PASSWORD} characters; take a "
            "longer one"
        )
    return Login(user, password)


def _first_line(file: Path) -> str:
    try:
        mode = file.stat().st_mode
        with file.open("rb") as opened:
            text = opened.read(_LONGEST_FILE).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--auth: the password file {file} cannot be read: {error}") from error
    if mode & 0o077:
        raise UsageError(
            f"--auth: other users of this computer may read {file}; fix it with: chmod 600 {file}"
        )
    return text.split("\n", 1)[0].strip("\r")


def _certificate(certificate: Path | None, key: Path | None) -> tuple[str | None, str | None]:
    if certificate is None and key is None:
        return None, None
    if certificate is None or key is None:
        raise UsageError("--tls-cert and --tls-key go together; give both")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=b"")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UsageError(
            f"{certificate} and {key} are no certificate and its key without a passphrase, as PEM: "
            f"{error}"
        ) from error
    return str(certificate.absolute()), str(key.absolute())


def _folder(path: Path) -> Path:
    if not path.expanduser().is_dir():
        raise UsageError(f"--folder {path}: no such folder")
    return path
