"""HTTP: bodies over http and https, connections kept alive.

Not by fsspec's driver: ``http.client`` takes less CPU in most runs (benchmarks/remote.py), needs no aiohttp, and can
say If-Range, without which two versions of an object may be joined to one. Headers of one's own, such as Authorization,
are read from where fsspec has them (``{"https": {"headers": {...}}}``), proxies from the environment.
"""

import base64
import os
import re
import ssl
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, InvalidURL
from socket import SO_RCVLOWAT, SOL_SOCKET, socket
from typing import NamedTuple, cast
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import fsspec
import fsspec.config

from pipeline.data.remote.body import Body, Changed, Clock, Dropped, Refused
from pipeline.errors import brief

BLOCK = 256 * 2**10
SMALL = 64 * 2**10
"""Bytes of an answer that are worth reading to keep its connection."""
REDIRECTS = 5
IDLE_SECONDS = 60.0
"""A connection that was kept longer may be dead without a sign, which costs the patience for a stall to find out."""
SAFE = "!#$%&'()*+,/:;=?@[]~"
TRANSIENT = {408, 425, 429}
"""These and all 5xx may be answered otherwise another time."""


class Line(NamedTuple):
    origin: tuple[str, str]
    """Protocol and host."""
    connection: HTTPConnection
    socket: socket
    """The connection forgets it once it knows that the server will close it."""


_idle: defaultdict[tuple[str, str], list[tuple[float, HTTPConnection]]] = defaultdict(list)
os.register_at_fork(after_in_child=_idle.clear)  # two processes must not talk over one connection


def open_http(url: str, start: int, version: str, clock: Clock) -> Body:
    """The object from byte ``start`` on, if its version is this one.

    Raises Refused, Dropped, Changed.
    """
    asked = {"Range": f"bytes={start}-"} if start else {}
    if start and version and not version.startswith("W/"):  # a weak tag is no proof of equal bytes
        asked["If-Range"] = version
    try:
        line, response = _get(url, asked, clock)
    except (OSError, HTTPException, ValueError) as error:
        raise _mapped(error) from error
    try:
        begins, size = _span(response, start)
        found = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        if begins and version and found != version:
            raise Changed
    except BaseException:
        _release(line, response)
        raise
    ends = response.length is not None or response.chunked
    return Body(begins, size, found, _blocks(line, response, begins, clock), ends, partial(_release, line, response))


def _span(response: HTTPResponse, start: int) -> tuple[int, int | None]:
    """(offset of the first byte, bytes of the whole object). Raises for every answer that is not the object."""
    if response.status == 200:
        return 0, response.length
    if response.status == 206 and start:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        if span is None or int(span[1]) != start:
            raise Changed
        return start, None if span[2] == "*" else int(span[2])
    if response.status == 416:
        raise Changed
    answer = f"the server answered {response.status} {response.reason}".rstrip()
    if response.status >= 500 or response.status in TRANSIENT or response.status == 206:
        after = response.headers.get("Retry-After", "")
        raise Dropped(answer, float(after) if after.isdigit() else 0.0)
    raise Refused(answer)


def _blocks(line: Line, response: HTTPResponse, start: int, clock: Clock) -> Iterator[bytes]:
    """One system call each, so that the caller's clock runs also where a sender trickles.

    They end at multiples of BLOCK where they can: whole large pages are a seventh cheaper to write. Until the end is
    near, the kernel is told not to wake us for less than a block: a fetch from a fast server costs half as much then.
    Under TLS it cannot be told, since nobody knows how many bytes a block will take.
    """
    lazy = response.length is not None and not isinstance(line.socket, ssl.SSLSocket)
    try:
        while response.length != 0:
            line.socket.settimeout(clock.patience())
            if lazy:
                line.socket.setsockopt(SOL_SOCKET, SO_RCVLOWAT, BLOCK if (response.length or 0) > 2 * BLOCK else 1)
            if not (block := response.read1(BLOCK - start % BLOCK)):
                return
            start += len(block)
            yield block
    except (OSError, HTTPException) as error:
        raise _mapped(error) from error


def _get(url: str, headers: dict[str, str], clock: Clock) -> tuple[Line, HTTPResponse]:
    """The answer, redirects followed. Headers of one's own stay with the host they were meant for."""
    first = urlsplit(url)
    own = _own_headers()
    for _ in range(REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or (first.scheme, parts.scheme) == ("https", "http"):
            raise Refused(f"the server redirects to {parts.scheme!r}, which is not followed")
        if not parts.hostname:
            raise InvalidURL("it names no host")
        mine = own if parts.netloc == first.netloc else {}
        line, response = _ask(parts, {"Accept-Encoding": "identity", **mine, **headers}, clock)
        if response.status not in (301, 302, 303, 307, 308) or not (target := response.headers.get("Location")):
            return line, response
        _release(line, response)
        url = urljoin(url, target)
    raise Refused(f"the server redirects more than {REDIRECTS} times")


def _ask(parts: SplitResult, headers: dict[str, str], clock: Clock) -> tuple[Line, HTTPResponse]:
    """One request, over a connection that was kept if there is one. Raises OSError, HTTPException."""
    origin, proxy = (parts.scheme, parts.netloc), _proxy(parts)
    target = quote(urlunsplit(("", "", parts.path or "/", parts.query, "")), safe=SAFE)
    if proxy is not None and parts.scheme == "http":
        target, headers = f"http://{parts.netloc}{target}", {**headers, **_proxy_login(proxy)}
    while True:
        try:
            since, connection = _idle[origin].pop()
            fresh = False
        except IndexError:
            since, connection, fresh = time.monotonic(), _connection(parts, proxy), True
        try:
            connection.timeout = clock.patience()
            if time.monotonic() - since > IDLE_SECONDS:
                connection.close()
            if connection.sock is None:
                connection.connect()
            line = Line(origin, connection, cast(socket, connection.sock))
            line.socket.settimeout(clock.patience())
            connection.request("GET", target, headers=headers)
            return line, connection.getresponse()
        except BaseException as error:
            connection.close()
            if fresh or not isinstance(error, ConnectionError):
                raise  # else: a server may close a kept connection at any time, which says nothing


def _release(line: Line, response: HTTPResponse) -> None:
    """Keep the connection if its answer was read to the end, or is none that was wanted, and short."""
    with suppress(OSError, HTTPException):
        if response.status >= 300 and response.length is not None and response.length <= SMALL:
            response.read()
        if response.length == 0 or response.isclosed():
            response.close()
            _idle[line.origin].append((time.monotonic(), line.connection))
            return
    response.close()
    line.connection.close()


def _connection(parts: SplitResult, proxy: SplitResult | None) -> HTTPConnection:
    """Not connected yet."""
    host = proxy.netloc.rpartition("@")[2] if proxy else parts.netloc
    if parts.scheme == "http":
        return HTTPConnection(host)
    connection = HTTPSConnection(host, context=_tls())
    if proxy:
        connection.set_tunnel(parts.netloc, headers=_proxy_login(proxy))
    return connection


@cache
def _tls() -> ssl.SSLContext:
    """One for all connections: reading the certificates takes 20 ms."""
    return ssl.create_default_context()


def _proxy(parts: SplitResult) -> SplitResult | None:
    """The proxy that the environment names for this address."""
    address = getproxies().get(parts.scheme)
    if not address or proxy_bypass(parts.netloc):
        return None
    return urlsplit(address if "://" in address else f"http://{address}")


def _proxy_login(proxy: SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


def _own_headers() -> dict[str, str]:
    conf = fsspec.config.conf
    return {**conf.get("http", {}).get("headers", {}), **conf.get("https", {}).get("headers", {})}


def _mapped(error: OSError | HTTPException | ValueError) -> Dropped | Refused:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Refused(f"its certificate is not trusted ({error.verify_message})")
    if isinstance(error, (ValueError, InvalidURL)):
        return Refused(f"the address is not valid ({error})")
    if isinstance(error, TimeoutError):
        return Dropped("it fell silent")
    if isinstance(error, ConnectionRefusedError):
        return Dropped("the connection was refused")
    return Dropped(f"the connection was lost ({brief(error)})")
