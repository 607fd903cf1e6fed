"""Real servers on loopback: one that misbehaves as it is told, alone or in front of another, and nginx."""

import contextlib
import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@dataclass
class Answer:
    """What a well-behaved server would say."""

    status: int
    headers: dict[str, str]
    body: bytes


Fault = Callable[["Handler", Answer], None]


@dataclass
class Seen:
    method: str
    path: str
    range: str | None
    headers: dict[str, str]


@dataclass
class Faulty:
    """Serves ``objects``, or what ``upstream`` (host:port) has; ``faults`` befall the next that are asked for."""

    objects: dict[str, bytes] = field(default_factory=dict)
    upstream: str = ""
    faults: deque[Fault] = field(default_factory=deque)
    always: Fault | None = None
    tagged: bool = True
    ranges: bool = True
    pace: float = 0.0
    """Seconds between the pieces of a body."""
    seen: list[Seen] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    certificate: tuple[Path, Path] | None = None
    """It and its key: https, then."""
    address: str = ""
    """http://host:port"""

    def gets(self, path: str = "") -> list[Seen]:
        return [request for request in self.seen if request.method == "GET" and path in request.path]

    def answer(self, handler: "Handler") -> Answer:
        if self.upstream:
            return self._forward(handler)
        data = self.objects.get(handler.path)
        if data is None:
            return Answer(404, {"Content-Length": "9"}, b"not there")
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        headers = {"ETag": tag} if self.tagged else {}
        asked = handler.headers.get("Range")
        same = handler.headers.get("If-Range", tag) == tag
        if not asked or not self.ranges or not same:
            return Answer(200, {**headers, "Content-Length": str(len(data))}, data)
        start = int(asked.removeprefix("bytes=").partition("-")[0])
        if start >= len(data):
            return Answer(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(data)}"}, b"")
        span = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        return Answer(206, {**headers, "Content-Range": span, "Content-Length": str(len(body))}, body)

    def _forward(self, handler: "Handler") -> Answer:
        connection = HTTPConnection(self.upstream)
        try:
            body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
            connection.request(handler.command, handler.path, body, dict(handler.headers))
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Faulty

    def do_GET(self) -> None:
        owner = self.owner
        owner.seen.append(Seen(self.command, self.path, self.headers.get("Range"), dict(self.headers)))
        with contextlib.suppress(ConnectionError):
            answer = owner.answer(self)
            fault = owner.always or send
            if self.command == "GET" and answer.status in (200, 206) and owner.faults:
                fault = owner.faults.popleft()
            fault(self, answer)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def begin(self, answer: Answer, **changed: str | None) -> None:
        self.send_response(answer.status)
        dropped = {"connection", "date", "server", *(name.replace("_", "-") for name in changed)}
        for name, value in answer.headers.items():
            if name.lower() not in dropped:
                self.send_header(name, value)
        for name, value in changed.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def put(self, data: bytes) -> None:
        if not self.owner.pace:
            self.wfile.write(data)
            return
        for start in range(0, len(data), 4096):
            self.wfile.write(data[start : start + 4096])
            if self.owner.over.wait(self.owner.pace):
                return

    def log_message(self, format: str, *args: object) -> None:
        pass


def send(handler: Handler, answer: Answer) -> None:
    handler.begin(answer)
    if handler.command != "HEAD":
        handler.put(answer.body)


def status(code: int, **headers: str) -> Fault:
    def fault(handler: Handler, answer: Answer) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        send(handler, Answer(code, {**named, "Content-Length": "4"}, b"oops"))

    return fault


def drop(after: int) -> Fault:
    """The connection ends within the body."""

    def fault(handler: Handler, answer: Answer) -> None:
        handler.begin(answer)
        handler.put(answer.body[:after])
        handler.close_connection = True

    return fault


def stall(after: int, header: bool = True) -> Fault:
    """Nothing comes any more, and the connection stays open."""

    def fault(handler: Handler, answer: Answer) -> None:
        if header:
            handler.begin(answer)
            handler.put(answer.body[:after])
        handler.owner.over.wait(30)
        handler.close_connection = True

    return fault


def trickle(handler: Handler, answer: Answer) -> None:
    """A byte now and then: never silent, never done."""
    handler.begin(answer)
    for start in range(len(answer.body)):
        handler.wfile.write(answer.body[start : start + 1])
        if handler.owner.over.wait(0.05):
            break
    handler.close_connection = True


def cut(after: int, told: bool) -> Fault:
    """A body that is too short; ``told``: with a length that says so, else with none."""

    def fault(handler: Handler, answer: Answer) -> None:
        handler.begin(answer, content_length=str(after) if told else None, connection="close")
        handler.put(answer.body[:after])
        handler.close_connection = True

    return fault


def chunked(after: int | None = None) -> Fault:
    """In chunks, the last of them missing where ``after`` is given."""

    def fault(handler: Handler, answer: Answer) -> None:
        handler.begin(answer, content_length=None, transfer_encoding="chunked")
        body = answer.body[:after]
        for start in range(0, len(body), 3000):
            part = body[start : start + 3000]
            handler.put(b"%x\r\n%s\r\n" % (len(part), part))
        if after is None:
            handler.put(b"0\r\n\r\n")
        handler.close_connection = True

    return fault


def longer(handler: Handler, answer: Answer) -> None:
    """More than it said: the rest lies in the connection before the next answer."""
    handler.begin(answer)
    handler.put(answer.body + b"more")


def flip(at: int) -> Fault:
    """A wrong byte."""

    def fault(handler: Handler, answer: Answer) -> None:
        body = bytearray(answer.body)
        body[at] ^= 0xFF
        send(handler, Answer(answer.status, answer.headers, bytes(body)))

    return fault


def redirect(target: str) -> Fault:
    return status(302, Location=target)


def then(do: Callable[[], object], fault: Fault) -> Fault:
    """Something that happens on the server after this answer."""

    def both(handler: Handler, answer: Answer) -> None:
        fault(handler, answer)
        do()

    return both


@contextlib.contextmanager
def faulty(**options: object) -> Iterator[Faulty]:
    owner = Faulty(**options)  # pyright: ignore[reportArgumentType]
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"owner": owner}))
    server.daemon_threads = True
    owner.address = f"http://127.0.0.1:{server.server_port}"
    if owner.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*owner.certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        owner.address = f"https://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield owner
    finally:
        owner.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def nginx(root: Path, work: Path) -> Iterator[str]:
    """Its address; one process of this user, everything it writes under ``work``."""
    assert NGINX is not None
    port = free_port()
    paths = " ".join(f"{k}_temp_path {work}/{k};" for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (work / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {work}/pid; error_log {work}/error.log; events {{}}\n"
        f"http {{ access_log {work}/access.log; {paths} sendfile on; keepalive_requests 100000;\n"
        f"server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
    )
    server = subprocess.Popen([NGINX, "-p", str(work), "-c", str(work / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int, seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.02)
