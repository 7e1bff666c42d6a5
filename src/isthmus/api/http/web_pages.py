# SPDX-License-Identifier: Apache-2.0
"""No web page uses the API through the browser of somebody who may.

A browser sends requests for any page that it shows: with the client certificate or the password
that it remembers, from behind the firewall, and to this machine's own addresses, where whoever
calls is let in. So every listener judges what browsers add to a request and a page cannot change:

- ``Sec-Fetch-Site`` (W3C Fetch Metadata): whose page has asked. A page of our own and what a person
  has typed are let in.
- ``Origin`` (RFC 6454): older browsers send it alone. It must be the address that was called.
- ``Host``: a name of ours. A page can have its own name lead to our address (DNS rebinding), and
  then the first two say that it is our page.

A unix socket is judged in the same way, because ``ssh -L`` and the like make a port of it. The type
of a body is judged where it is read (`request.HttpRequest.json`): the types that a page may send
without asking us first (WHATWG Fetch, "CORS-safelisted request-header") are no JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from ipaddress import ip_address

from isthmus.errors import Forbidden, Invalid

OWN_SITES = frozenset(("same-origin", "none"))
"""``none`` is what a person has typed or kept. ``same-site`` is somebody else's: for a browser
all ports of a host are one site."""

Names = Callable[[], Collection[str]]
"""The names of a listener in lower case, asked anew for each request: certificates change."""


def refuse_web_pages(
    headers: Iterable[tuple[bytes, bytes]], *, scheme: str, version: str, names: Names | None
) -> None:
    """Raises Forbidden for what a page of another origin has sent, Invalid for no single Host.

    `version` is that of HTTP. `names` are those by which a listener with TLS is called; None for
    one that is reached from this machine only, by the names of that.
    """
    sites, origins, hosts = [], [], []
    for name, value in headers:
        if name == b"sec-fetch-site":
            sites.append(value.decode("latin-1").strip().lower())
        elif name == b"origin":
            origins.append(value.decode("latin-1").strip().lower())
        elif name == b"host":
            hosts.append(value.decode("latin-1").strip().lower())
    if len(hosts) > 1 or (version != "1.0" and not any(hosts)):
        # RFC 9112 section 3.2: "A server MUST respond with a 400 (Bad Request) status code to any
        # HTTP/1.1 request message that lacks a Host header field and to any request message that
        # contains more than one".
        raise Invalid("a request names its Host, once", target="Host")
    host = hosts[0] if hosts else ""
    for site in sites:
        if site not in OWN_SITES:
            raise Forbidden(
                f"a web page of another origin has sent this (Sec-Fetch-Site is {site!r}):"
                " no page may use the controller through a browser",
                target="Sec-Fetch-Site",
            )
    for origin in origins:
        if origin != f"{scheme}://{host}":
            raise Forbidden(
                f"a web page of {origin!r} has sent this, which is not {scheme}://{host}:"
                " no page may use the controller through a browser",
                target="Origin",
            )
    if host:
        _refuse_foreign_name(name_of(host), names)


def _refuse_foreign_name(name: str, names: Names | None) -> None:
    if is_loopback(name):
        return
    if names is None:
        raise Forbidden(
            f"this listener serves this machine only, not {name!r}: call it by 127.0.0.1, [::1] or"
            " localhost",
            target="Host",
        )
    # An address cannot be made to lead elsewhere, so a page of that address is ours.
    if not _is_address(name) and not any(_is_named(name, one) for one in names()):
        raise Forbidden(
            f"this listener is not {name!r}: call it by its address or by a name that its"
            " certificate holds",
            target="Host",
        )


def name_of(host: str) -> str:
    """The name or address of a Host, without its port."""
    if host.startswith("["):
        return host[1 : host.find("]")]
    return host.partition(":")[0].removesuffix(".")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`, which is an address or a name."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_named(name: str, by: str) -> bool:
    """RFC 6125 section 6.4.3: an asterisk stands for one whole label, the first."""
    if by.startswith("*."):
        return name.partition(".")[2] == by[2:]
    return name == by
