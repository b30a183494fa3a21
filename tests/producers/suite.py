"""What the suites of producers share: a daemon, a project's tokens and webhooks, a receiver.

Owns the setup and the verification of deliveries by the public libraries. Must never take the
daemon's word for a signature. Environment: POSTRIDER_BINARY, NODE_MODULES.
"""

import hashlib
import hmac
import json

import standardwebhooks
import svix
from harness import wire
from harness.daemon import Daemon
from harness.receiver import Receiver
from harness.wire import ACCEPT, JSON

SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # 32 characters, strict base64 of 24 bytes
SECONDS_MAX = 60


class Suite:
    """One daemon, one receiver."""

    def __init__(self, report, name):
        self.report = report
        self.receiver = Receiver()
        self.daemon = Daemon(name).start()
        self.markers = 0

    def call(self, method, path, fields=None, headers=None):
        """One request with the project's key, or with other headers."""
        body = b"" if fields is None else json.dumps(fields).encode()
        auth = wire.simple() if headers is None else headers
        head = {"Accept": ACCEPT["own"], "Content-Type": JSON, **auth}
        return wire.request(self.daemon.port, method, path, head, body)

    def token(self, **fields):
        """A new intake token; answers with its object."""
        answer = self.call("POST", "/tokens/", fields)
        self.report.equal("a token is made", answer.status, 201)
        return answer.json()

    def feed(self, path, body, headers=None):
        """One request of a source, without any key of its own."""
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = {"Content-Type": JSON, **(headers or {})}
        return wire.request(self.daemon.port, "POST", path, head, body)

    def subscribe(self, form, event):
        """A webhook of a format at the path `/format/event`."""
        known, _, version = form.partition("-")
        fields = {"target_url": self.receiver.url("/%s/%s" % (form, event)), "event": event,
                  "format": known, "signing_secret": SECRET,
                  **({"version": version} if version else {})}
        answer = self.call("POST", "/webhooks/", fields)
        self.report.equal("a webhook of %s for %s" % (form, event), answer.status, 201)

    def seen(self, path):
        """Bodies that came to a path."""
        return [json.loads(one.body) for one in self.receiver.deliveries if one.path == path]

    def wait(self, name, holds):
        """Waits for deliveries."""
        came = self.receiver.wait(lambda all_: holds([one.path for one in all_]), SECONDS_MAX)
        return self.report.check(name, came, [one.path for one in self.receiver.deliveries])

    def settle(self):
        """Waits until everything that was accepted before has been delivered: one lane is in order."""
        self.markers += 1
        count = self.markers
        self.subscribe("uploadcare-0.7", "marker.%d" % count)
        fields = {"event": "marker.%d" % count, "data": {}}
        self.report.equal("a marker", self.call("POST", "/events/", fields).status, 202)
        path = "/uploadcare-0.7/marker.%d" % count
        self.wait("the marker arrives", lambda paths: path in paths)

    def verify(self):
        """Every delivery so far, by each library that its receiver may use."""
        for one in self.receiver.deliveries:
            for library in (standardwebhooks, svix):
                try:
                    library.Webhook("whsec_" + SECRET).verify(one.body, one.headers)
                    holds = True
                except library.WebhookVerificationError:
                    holds = False
                self.report.check("%s: %s" % (library.__name__, one.path), holds)
            own = hmac.new(SECRET.encode(), one.body, hashlib.sha256).hexdigest()
            form = one.headers.get("x-uc-signature")
            self.report.check("X-Uc-Signature: " + one.path, form in (own, "v1=" + own), form)
            if one.path.startswith("/lancer/"):
                stamp = one.headers.get("x-timestamp", "")
                message = stamp.encode() + b"." + one.body
                own = hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest()
                self.report.equal("x-signature: " + one.path, one.headers.get("x-signature"), own)

    def close(self):
        """Stops both."""
        self.receiver.close()
        self.daemon.close(keep=self.report.failed > 0)
