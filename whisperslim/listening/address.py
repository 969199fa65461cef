"""Addresses, certificates and secrets of a server: open to this computer alone unless asked.

What opens to other computers needs a secret, which comes from a file of its owner alone or from the
environment: a command line can be read by every user of the computer.
"""

import errno
import ipaddress
import re
import socket
import ssl
from collections.abc import Set
from pathlib import Path
from urllib.parse import urlsplit

from whisperslim.errors import UsageError

LOOPBACK = "127.0.0.1"
SHORTEST_SECRET = 12  # characters: our choice
_OWN_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_ALL_ADDRESSES = frozenset({"0.0.0.0", "::"})
_LONGEST_FILE = 4096  # bytes; a file of a secret holds one line


def is_loopback(address: str) -> bool:
    """Whether an address is this computer's own."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def checked_address(typed: str, option: str = "--listen") -> str:
    """An IP address as typed after `option`. Raises `UsageError` for anything else."""
    if typed == "localhost":
        return LOOPBACK
    try:
        return str(ipaddress.ip_address(typed.strip("[]")))
    except ValueError as error:
        raise UsageError(
            f"{option} {typed!r} is not an address; give one such as 192.168.1.5"
            + (", or 0.0.0.0 for all of this computer's" if option == "--listen" else "")
        ) from error


def in_url(address: str) -> str:
    """An IP address as a URL has it."""
    return f"[{address}]" if ":" in address else address


def own_names(address: str) -> frozenset[str]:
    """Host names that a browser may ask for, where a server on `address` has no secret.

    Another site can point its own name to this computer's address ("DNS rebinding") and would then
    be taken for ours.
    """
    return _OWN_NAMES | {in_url(address)}


def is_all_addresses(address: str) -> bool:
    """Whether all of this computer's addresses serve, so that a browser may have asked for any.

    Rebinding needs a name, so a number is as safe as the names of `own_names`.
    """
    return address in _ALL_ADDRESSES


def goes_by(host: str, names: Set[str] | None, *, any_address: bool) -> bool:
    """Whether the host that a request names, without its port, is one of `names` (None: any).

    With `any_address`, every IP address is, too.
    """
    name = re.sub(r":\d+$", "", host.lower())
    if names is None or name in names:
        return True
    in_brackets = name.startswith("[")
    address = name[1:-1] if in_brackets else name
    return any_address and is_address(address) and in_brackets == (":" in name)


def is_address(text: str) -> bool:
    """Whether this is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_own_page(origin: str, host: str) -> bool:
    """Whether a request came from a page of `host` itself, or from no page; browsers state
    which."""
    try:
        return not origin or urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def check_port(address: str, port: int) -> None:
    """Raise `UsageError` unless `port` of `address`, an IP address, exists and is free."""
    # Gradio checks this computer's own address, whichever one it is to listen on.
    for each in dict.fromkeys((LOOPBACK, address)):
        family = socket.AF_INET6 if ":" in each else socket.AF_INET
        with socket.socket(family) as probe:
            # Connections that an app has just left behind do not hold the port.
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


def first_line(file: Path, option: str) -> str:
    """The secret in a file named after `option`.

    Raises `UsageError` when it cannot be read, or others may read it.
    """
    try:
        mode = file.stat().st_mode
        with file.open("rb") as opened:
            text = opened.read(_LONGEST_FILE).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{option}: the file {file} cannot be read: {error}") from error
    if mode & 0o077:
        raise UsageError(
            f"{option}: other users of this computer may read {file}; fix it with: chmod 600 {file}"
        )
    return text.split("\n", 1)[0].strip("\r")


def checked_certificate(
    certificate: Path | None, key: Path | None
) -> tuple[str | None, str | None]:
    """Absolute paths of a certificate and its key, or of neither. Raises `UsageError`."""
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
