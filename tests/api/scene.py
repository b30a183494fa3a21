"""What the suites of the API share: the daemon they are run against, projects, and their clients.

Owns handing each part a project of its own and speaking for it. Must never judge an answer.
"""

import contextlib
import json

from harness import wire
from harness.daemon import Daemon
from harness.receiver import Receiver
from harness.wire import ACCEPT, JSON

PROJECTS = 96
SECONDS_MAX = 30
SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DRAIN = {"drain_timeout": '"5s"'}


def keys(number):
    """Id, public key and secret key of a project, as the configuration takes them."""
    return 500 + number, "%020x" % (0xA91000000 + number), "%020x" % (0x5EC000000000 + number)


class Configured(Daemon):
    """A daemon with settings of its last project, written as they stand in the file."""

    def __init__(self, name, settings="", **rest):
        super().__init__(name, **rest)
        self._config.write_text(self._config.read_text() + settings)

    def take_leave_back(self):
        """Empties `[delivery] allow`; that holds from the next start on."""
        text = self._config.read_text()
        self._config.write_text(text.replace('allow = ["127.0.0.0/8"]', "allow = []"))


class Stage:
    """One daemon for many parts: each takes projects that nothing else uses."""

    def __init__(self):
        self.daemon = Daemon("api", server=DRAIN, projects=[keys(n) for n in range(PROJECTS)])
        self.daemon.start()
        self._taken = 0

    def project(self):
        """The next project."""
        self._taken += 1
        return Project(self.daemon, *keys(self._taken - 1))


class Project:
    """A project as its owner's program sees it."""

    def __init__(self, daemon, number, public, secret):
        self.daemon, self.id = daemon, number
        self.public, self.secret = public, secret

    def call(self, method, path, fields=None, accept="0.7", headers=None):
        """One request with a JSON body."""
        body = b"" if fields is None else json.dumps(fields).encode()
        return self.send(method, path, body, JSON, accept, headers)

    def send(self, method, path, body=b"", content_type=JSON, accept="0.7", headers=None):
        """One request with any body."""
        head = {"Accept": ACCEPT[accept], **wire.simple(self.public, self.secret)}
        if content_type:
            head["Content-Type"] = content_type
        return wire.request(self.daemon.port, method, path, {**head, **(headers or {})}, body)

    def subscribe(self, url, event="file.uploaded", accept="own", **fields):
        """Makes a webhook; answers with its object. One attempt at a time, unless told otherwise:
        then what is accepted first arrives first."""
        fields = {"target_url": url, "event": event, "in_flight": 1, **fields}
        answer = self.call("POST", "/webhooks/", fields, accept)
        if answer.status != 201:
            raise RuntimeError("create: %r" % answer)
        return answer.json()

    def webhook(self, number, accept="own"):
        """A webhook as it is now."""
        return self.call("GET", "/webhooks/%d/" % number, accept=accept).json()

    def act(self, number, action):
        """`test`, `pause` or `resume`."""
        return self.call("POST", "/webhooks/%d/%s/" % (number, action), accept="own")

    def publish(self, event="file.uploaded", data=None, headers=None, **fields):
        """Publishes one event; answers with the response."""
        fields = {"event": event, "data": {} if data is None else data, **fields}
        return self.call("POST", "/events/", fields, headers=headers)

    def accepted(self, event="file.uploaded", data=None, headers=None, **fields):
        """Publishes one event that has to be accepted; answers with what was said of it."""
        answer = self.publish(event, data, headers, **fields)
        if answer.status != 202:
            raise RuntimeError("publish: %r" % answer)
        return answer.json()


@contextlib.contextmanager
def receiving(answer=None):
    """A receiver for as long as a part takes."""
    receiver = Receiver(answer)
    try:
        yield receiver
    finally:
        receiver.close()


def events_of(receiver, path="/hook"):
    """The ids of the events that came to a path, in order."""
    return [one.headers["postrider-event"] for one in list(receiver.deliveries)
            if one.path == path]


def wait_events(receiver, count, path="/hook"):
    """Waits until so many came to a path; answers with the ids of all that did."""
    receiver.wait(lambda all_: sum(one.path == path for one in all_) >= count, SECONDS_MAX)
    return events_of(receiver, path)


def only_arrivals(project, receiver, wanted, path="/hook", event="file.uploaded"):
    """Publishes a last event and waits for it: attempts of a webhook are made in order, so that
    nothing accepted before is still to come. Whether just `wanted` came before it."""
    last = project.accepted(event)["id"]
    receiver.wait(lambda all_: any(one.headers["postrider-event"] == last and one.path == path
                                   for one in all_), SECONDS_MAX)
    return events_of(receiver, path) == list(wanted) + [last]
