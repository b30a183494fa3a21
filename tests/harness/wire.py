"""Requests byte by byte, and the authentication of Uploadcare's API in a second implementation.

Owns raw HTTP/1.1 over a socket. Must never share code with the daemon: it is the other opinion.
"""

import email.utils
import hashlib
import hmac
import json
import socket
import time

from harness.daemon import PUBLIC_KEY, SECRET_KEY

SOCKET_SECONDS_MAX = 15
ACCEPT = {"0.5": "application/vnd.uploadcare-v0.5+json",
          "0.6": "application/vnd.uploadcare-v0.6+json",
          "0.7": "application/vnd.uploadcare-v0.7+json",
          "own": "application/json"}
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


class Answer:
    """One response: status, headers (names lower-cased) and body."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        """The body as JSON; raises ValueError where it is none."""
        return json.loads(self.body)

    def __repr__(self):
        return "<%s %r %r>" % (self.status, self.headers.get("content-type"), self.body[:300])


def simple(public=PUBLIC_KEY, secret=SECRET_KEY):
    """The header of the simple scheme."""
    return {"Authorization": "Uploadcare.Simple %s:%s" % (public, secret)}


def bearer(secret=SECRET_KEY):
    """The header that carries a secret key alone."""
    return {"Authorization": "Bearer " + secret}


def signature(method, path, body, content_type, date, secret=SECRET_KEY):
    """The signature of the signed scheme."""
    digest = hashlib.md5(body).hexdigest()
    text = "\n".join([method, digest, content_type, date, path])
    return hmac.new(secret.encode(), text.encode(), hashlib.sha1).hexdigest()


def signed(method, path, body=b"", content_type=JSON, date=None, date_header="Date",
           public=PUBLIC_KEY, secret=SECRET_KEY):
    """The headers of the signed scheme."""
    if date is None:
        date = email.utils.formatdate(time.time(), usegmt=True)
    value = signature(method, path, body, content_type, date, secret)
    headers = {"Authorization": "Uploadcare %s:%s" % (public, value), date_header: date}
    if content_type:
        headers["Content-Type"] = content_type
    return headers


def request_bytes(method, path, headers, body=b"", content_length=True):
    """A request as it goes over the wire; headers keep their order and spelling."""
    pairs = list(headers.items() if isinstance(headers, dict) else headers)
    names = {name.lower() for name, _ in pairs}
    if "host" not in names:
        pairs.insert(0, ("Host", "127.0.0.1"))
    if content_length and "content-length" not in names and "transfer-encoding" not in names:
        if body or method in ("POST", "PUT", "PATCH"):
            pairs.append(("Content-Length", str(len(body))))
    head = "%s %s HTTP/1.1\r\n" % (method, path)
    head += "".join("%s: %s\r\n" % pair for pair in pairs) + "\r\n"
    return head.encode("latin-1") + body


def exchange(port, raw, half_close=False):
    """Sends bytes, reads one response. A connection closed without one is `None`."""
    with socket.create_connection(("127.0.0.1", port), timeout=SOCKET_SECONDS_MAX) as wire:
        try:
            wire.sendall(raw)
            if half_close:
                wire.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the end of the body: the answer is already on its way
        return read_answer(wire, raw.startswith(b"HEAD "))


def request(port, method, path, headers=None, body=b""):
    """One request on a connection of its own."""
    return exchange(port, request_bytes(method, path, headers or {}, body))


def read_answer(wire, head_only=False):
    """Reads one response; the socket's timeout bounds every read."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            more = wire.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more:
            return None
        data += more
        if data.startswith(b"HTTP/1.1 100"):
            data = data.partition(b"\r\n\r\n")[2]
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    if head_only or status in (204, 304):
        return Answer(status, headers, body)
    return Answer(status, headers, read_body(wire, headers, body))


def read_body(wire, headers, body):
    """The rest of a body, by its length, its chunks or the end of the connection."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while not body.endswith(b"0\r\n\r\n"):
            more = wire.recv(65536)
            if not more:
                break
            body += more
        return unchunk(body)
    length = int(headers["content-length"]) if "content-length" in headers else None
    while length is None or len(body) < length:
        try:
            more = wire.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more:
            break
        body += more
    return body


def unchunk(data):
    """The content of a chunked body."""
    out = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        out, data = out + rest[:length], rest[length + 2:]
        if length == 0:
            break
    return out
