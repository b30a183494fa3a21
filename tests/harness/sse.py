"""A reader of server-sent events, as the HTML standard has them, over a raw socket.

Owns a request, its chunks and the parsing of blocks. Must never reconnect by itself: what a client
that comes back sees is what the suites are about.
"""

import json
import socket
import time

from harness import wire


class Event:
    """One event: its id, name and data."""

    def __init__(self, number, name, data):
        self.id, self.name, self.data = number, name, data

    def json(self):
        """The data as JSON."""
        return json.loads(self.data)

    def __repr__(self):
        return "<%s %s %s>" % (self.id, self.name, self.data)


class Stream:
    """One connection that follows."""

    def __init__(self, port, path, headers, receive_bytes=None):
        self._wire = socket.socket()
        if receive_bytes:
            self._wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self._wire.settimeout(wire.SOCKET_SECONDS_MAX)
        self._wire.connect(("127.0.0.1", port))
        self._wire.sendall(wire.request_bytes("GET", path, headers))
        self._raw, self._text = b"", b""
        self.last_id, self.retry, self.comments, self.ended = None, None, 0, False
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        self.status = int(head[0].split(" ")[1])
        pairs = (line.partition(":") for line in head[1:] if line)
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}

    def _until(self, mark):
        """Bytes up to a mark, and it."""
        while mark not in self._raw:
            more = self._wire.recv(65536)
            if not more:
                raise EOFError
            self._raw += more
        out, _, self._raw = self._raw.partition(mark)
        return out + mark

    def _chunk(self):
        """The next chunk; empty at the regular end."""
        size = int(self._until(b"\r\n").split(b";")[0], 16)
        while len(self._raw) < size + 2:
            more = self._wire.recv(65536)
            if not more:
                raise EOFError
            self._raw += more
        out, self._raw = self._raw[:size], self._raw[size + 2:]
        return out

    def _block(self):
        """The lines of the next block; None at the regular end."""
        while b"\n\n" not in self._text:
            chunk = self._chunk()
            if not chunk:
                self.ended = True
                return None
            self._text += chunk
        block, _, self._text = self._text.partition(b"\n\n")
        return block.decode().split("\n")

    def next(self):
        """The next event; None at the regular end. Raises TimeoutError where nothing comes."""
        while True:
            lines = self._block()
            if lines is None:
                return None
            name, data = "message", []
            for line in lines:
                field, _, value = line.partition(":")
                value = value[1:] if value.startswith(" ") else value
                if not field:
                    self.comments += 1
                elif field == "id":
                    self.last_id = value
                elif field == "event":
                    name = value
                elif field == "data":
                    data.append(value)
                elif field == "retry":
                    self.retry = int(value)
            if data:
                return Event(self.last_id, name, "\n".join(data))

    def take(self, count):
        """The next so many events."""
        return [self.next() for _ in range(count)]

    def until(self, wanted):
        """Events up to the first for which `wanted` holds, and it."""
        seen = []
        while not seen or not wanted(seen[-1]):
            event = self.next()
            if event is None:
                raise EOFError
            seen.append(event)
        return seen

    def beat(self, count=1):
        """Waits for so many comments; nothing else may come before."""
        before = self.comments
        deadline = time.monotonic() + wire.SOCKET_SECONDS_MAX
        while self.comments < before + count and time.monotonic() < deadline:
            lines = self._block()
            if lines is None or any(line.startswith("data") for line in lines):
                return False
            self.comments += sum(line.startswith(":") for line in lines)
            ids = [line[4:] for line in lines if line.startswith("id: ")]
            self.last_id = ids[-1] if ids else self.last_id
        return True

    def close(self):
        """Goes away."""
        self._wire.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
