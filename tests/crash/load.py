"""Publishers under which a daemon is killed, and the books that they keep.

Owns what was sent, what was acknowledged, and what of it has arrived. Must never count an event
as accepted without its 202. Everything lives in the test's process, which nobody kills.
"""

import http.client
import json
import random
import threading

from harness import wire

BATCH_MAX = 5
# Enough to keep attempts in flight at any moment, few enough that a receiver in Python keeps up.
OUTSTANDING_MAX = 1500
RETRY_SECONDS = 0.02


class Books:
    """Every request, and every acknowledged number with the event's id."""

    def __init__(self, paths):
        self.paths = paths
        self.acknowledged = {}
        self.unknown = []
        self.missing = set()
        self.early = set()
        self._next = 0
        self._changed = threading.Condition()

    def take(self, count):
        """Fresh numbers; waits while too much is outstanding."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.missing) < OUTSTANDING_MAX, timeout=1)
            numbers = list(range(self._next, self._next + count))
            self._next += count
            return numbers

    def acknowledge(self, numbers, ids):
        """A 202: each number must now arrive at every path."""
        with self._changed:
            for number, event in zip(numbers, ids):
                self.acknowledged[number] = event
                self.missing |= {(number, path) for path in self.paths}
            self.missing -= self.early
            self._changed.notify_all()

    def doubt(self, numbers):
        """No answer: it may have been accepted or not, but whole."""
        with self._changed:
            self.unknown.append(numbers)

    def arrived(self, number, path):
        """A delivery came in; it may be ahead of its acknowledgement."""
        with self._changed:
            self.early.add((number, path))
            self.missing.discard((number, path))
            self._changed.notify_all()

    def wait_acknowledged(self, count, seconds):
        """Waits until `count` numbers were acknowledged in all."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.acknowledged) >= count, seconds)

    def wait_all_arrived(self, seconds_without_progress):
        """Waits as long as something arrives; answers what is still missing."""
        with self._changed:
            while self.missing:
                left = len(self.missing)
                if not self._changed.wait_for(lambda: len(self.missing) < left,
                                              seconds_without_progress):
                    break
            return set(self.missing)


class Publishers:
    """Threads that publish until they are stopped, whatever the daemon does."""

    def __init__(self, port, books, seed, threads=4):
        self._port, self._books = port, books
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(random.Random(seed * 100 + n),))
                         for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self):
        """Stops publishing and waits for the threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, chance):
        connection = None
        while not self._stop.is_set():
            numbers = self._books.take(chance.randint(1, BATCH_MAX))
            events = [{"event": "file.uploaded", "data": {"n": number}} for number in numbers]
            body = json.dumps(events if len(events) > 1 else events[0])
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self._port,
                                                                      timeout=30)
                status, said = self._post(connection, body)
            except (OSError, http.client.HTTPException):
                connection = self._close(connection)
                self._books.doubt(numbers)
                self._stop.wait(RETRY_SECONDS)  # nobody listens: the daemon is down
                continue
            if status == 202:
                said = said if isinstance(said, list) else [said]
                self._books.acknowledge(numbers, [one["id"] for one in said])
            else:
                connection = self._close(connection)
                self._books.doubt(numbers)
                self._stop.wait(RETRY_SECONDS)
        self._close(connection)

    @staticmethod
    def _post(connection, body):
        headers = {**wire.simple(), "Content-Type": wire.JSON}
        connection.request("POST", "/events/", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if answer.status == 202 else None

    @staticmethod
    def _close(connection):
        if connection:
            connection.close()
        return None
