"""Who sent a request and under which name of the app, as a trusted proxy says or as it is seen.

`X-Forwarded-For` and its like can be set by any sender. They are trusted from the one address that
the owner named as a proxy, and removed from every request, since Gradio reads some itself.
"""

import ipaddress
import re

from whisperslim.listening.address import is_address
from whisperslim.ui.guard.refusals import RefusedError, Scope

_SCHEMES = frozenset({"http", "https"})
_NAME = r"[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9.])?"
_HOST = re.compile(rf"({_NAME}|\[[0-9a-f:.]{{2,45}}\])(:\d{{1,5}})?", re.IGNORECASE)
_SAID_BY_PROXIES = re.compile(rb"forwarded|x-(forwarded|real|original)-.*|x-gradio-server")
_IPV6_NETWORK = 64  # bits of an IPv6 address that identify a customer, who can choose the rest


def as_seen(scope: Scope, proxy: str | None) -> Scope:
    """The request as the browser made it, without any header that speaks for somebody else.

    Raises `RefusedError` when the request's host is not a name.
    """
    headers = [pair for pair in scope["headers"] if not _SAID_BY_PROXIES.fullmatch(pair[0])]
    seen = {**scope, "headers": headers}
    if proxy is not None and address_of(scope) == proxy:
        _believe(seen, scope)
    host = header(seen, b"host")
    if not is_host(host):
        raise RefusedError(403, "the request does not say which computer it is for")
    return seen


def header(scope: Scope, name: bytes) -> str:
    """A header's value, its first where it is repeated; empty where there is none."""
    found = next((value for each, value in scope["headers"] if each == name), b"")
    return bytes(found).decode("latin-1").strip()


def is_host(name: str) -> bool:
    """Whether this can be the name or address of a computer, with or without a port."""
    found = _HOST.fullmatch(name)
    if not found or (found[3] and int(found[3][1:]) > 65_535):
        return False
    return not name.startswith("[") or is_address(name[1 : name.index("]")])


def address_of(scope: Scope) -> str:
    """The address at the other end of the connection, or the one that the proxy reports."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def place_of(scope: Scope) -> str:
    """What counts as one sender: an IPv4 address, or the network of an IPv6 address."""
    address = address_of(scope)
    if not is_address(address) or ":" not in address:
        return address
    return str(ipaddress.ip_network((address.partition("%")[0], _IPV6_NETWORK), strict=False))


def _believe(seen: Scope, said: Scope) -> None:
    # A proxy appends the address that it was contacted from; everything before came with the
    # request.
    chain = [value for each, value in said["headers"] if each == b"x-forwarded-for"]
    sender = b",".join(chain).rpartition(b",")[2].decode("latin-1").strip()
    if is_address(sender):
        seen["client"] = (sender, 0)
    if (scheme := header(said, b"x-forwarded-proto").lower()) in _SCHEMES:
        seen["scheme"] = scheme
    if host := header(said, b"x-forwarded-host"):
        others = [pair for pair in seen["headers"] if pair[0] != b"host"]
        seen["headers"] = [*others, (b"host", host.encode("latin-1"))]
