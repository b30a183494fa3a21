"""Things that exist in a daemon under test, so that requests about them are understood.

Owns making them, one for each request that would take it away. Must never spare a request that is
about something else: whatever was generated is sent, but for what would end the test itself.
"""

import base64
import json

from harness import wire
from harness.daemon import PROJECT_ID, PUBLIC_KEY

POOL = 6
# The next project's id is the highest and one.
PROJECT_ID_MAX = 1_000_000_000
NOBODY_LISTENS = "http://127.0.0.1:9"
# Bodies of many fields, which chance hardly ever makes sound as a whole.
SOUND = {"/events/": {"event": "world.made", "data": {"a": 1}},
         "/send/": {"target_url": NOBODY_LISTENS + "/send", "data": {"a": 1}},
         "/targets/": {"target": NOBODY_LISTENS, "rate_per_second": 5}}
SOUND_SHARE = 0.2


class World:
    """One project of the configuration, and the operator."""

    def __init__(self, port, operator_token, operator_id, intake_token, intake_id, receiver):
        self.port = port
        self.operator_token, self.operator_id = operator_token, operator_id
        self.intake_token, self.intake_id = intake_token, intake_id
        self.receiver = receiver
        self._pools = {}
        self._made = 0

    def fill(self, case, rng):
        """Names what exists in a request's path."""
        path, method = case.operation.path, case.operation.method.upper()
        own = case.path_parameters
        takes = method == "DELETE"
        for end, body in SOUND.items():
            known = path.endswith(end) and method == "POST" and case.media_type == wire.JSON
            if known and rng.random() < SOUND_SHARE:
                case.body = dict(body)
                case.headers.pop("Idempotency-Key", None)
        if "{project}" in path:
            own["project"] = self._project(path, method, rng)
        if path.endswith("/keys/{key}/"):
            own["project"] = self.make_project()
            own["key"] = self._post("/projects/%s/keys/" % own["project"])["id"]
        elif path.endswith("/webhooks/{id}"):
            own["id"] = self.make_resource() if takes else self._kept("wh", rng, self.make_resource)
        elif path.endswith("/operator/tokens/{id}/"):
            own["id"] = self._token("/operator/tokens/", self.operator_id)
        elif path.endswith("/tokens/{id}/"):
            own["id"] = self._token("/projects/%d/tokens/" % PROJECT_ID, self.intake_id)
        elif path.endswith("/test/"):
            own["id"] = self._tested(rng)
        elif "/webhooks/{id}/" in path:
            own["id"] = self._webhook(path, takes, rng)
        elif path.endswith("/replay/"):
            # Those of the others may be erased by now.
            own["event"] = self.make_event()
        elif "{event}" in path:
            own["event"] = self._kept("event", rng, self.make_event)
        elif "{delivery}" in path:
            own["delivery"] = self._delivery(path, rng)
            if "{number}" in path:
                own["number"] = 1
        elif "{job}" in path:
            own["job"] = self._kept("job", rng, self.make_job)
        elif "{target}" in path:
            own["target"] = self._kept("target", rng, self.make_target)
        elif "{token}" in path:
            own["token"] = self.intake_token

    def protect(self, case):
        """Spares the test's own tokens and the last ids of projects, and a webhook's test that waits
        for a target where nobody is."""
        path, own = case.operation.path, case.path_parameters
        if path == "/projects/" and isinstance(case.body, dict):
            number = case.body.get("id")
            if isinstance(number, (int, float)) and number > PROJECT_ID_MAX:
                case.body = {**case.body, "id": PROJECT_ID_MAX}
        if path.endswith("/tokens/{id}/") and str(own.get("id")) == str(self.intake_id):
            own["id"] = 4_000_000_000
        if path == "/operator/tokens/{id}/" and str(own.get("id")) == str(self.operator_id):
            own["id"] = 4_000_000_000
        if path.endswith("/webhooks/{id}/test/") and own.get("id") not in self._pools.get("test", ()):
            own["id"] = 2_147_483_647

    def _project(self, path, method, rng):
        alone = path == "/projects/{project}/"
        if alone and method == "DELETE":
            return self.make_project()
        if alone or path.endswith("/keys/"):
            return self._kept("project", rng, self.make_project)
        return rng.choice([PROJECT_ID, PUBLIC_KEY])

    def _webhook(self, path, takes, rng):
        if takes:
            return self.make_webhook()
        chosen = self._kept("webhook", rng, self.make_webhook)
        if "/secret/" in path and not path.endswith("/rotate/"):
            chosen = self.make_webhook()
            self._post("/webhooks/%s/secret/rotate/" % chosen)
            if path.endswith("/finish/"):
                self._post("/webhooks/%s/secret/promote/" % chosen)
        return chosen

    def _tested(self, rng):
        return self._kept("test", rng, lambda: self.make_webhook(self.receiver))

    def _delivery(self, path, rng):
        """One that arrived, a moment ago or longer; one that waits, where it is to be cancelled."""
        if path.endswith("/cancel/"):
            return self.make_waiting()
        return self._kept("delivery", rng, self.make_delivered)

    def _token(self, path, own):
        """A token more; where there are too many, those that the test does not need go first."""
        made = self._call("POST", path)
        if made.status == 201:
            return made.json()["id"]
        for token in self._call("GET", path).json():
            if token["id"] != own:
                self._call("DELETE", "%s%d/" % (path, token["id"]))
        return self._post(path)["id"]

    def _kept(self, name, rng, make):
        """One of a few that stay, as far as no request takes them away."""
        pool = self._pools.setdefault(name, [])
        if len(pool) < POOL or rng.random() < 0.1:
            pool.append(make())
            del pool[:-POOL]
        return rng.choice(pool)

    def make_project(self):
        """A project that is nobody's."""
        return self._post("/projects/")["id"]

    def make_webhook(self, base=NOBODY_LISTENS):
        """A webhook of the project."""
        self._made += 1
        fields = {"target_url": "%s/made/%d" % (base, self._made), "event": "file.uploaded",
                  "signing_secret": "made"}
        return self._post("/webhooks/", fields)["id"]

    def make_resource(self):
        """A webhook in JSON:API."""
        self._made += 1
        fields = {"target_url": "%s/%d" % (NOBODY_LISTENS, self._made), "events": ["file.created"]}
        return self._post("/api/v1/projects/%s/webhooks" % PUBLIC_KEY, fields)["data"]["id"]

    def make_event(self):
        """An event that was accepted."""
        self._made += 1
        return self._post("/events/", {"event": "world.made", "data": {"n": self._made}})["id"]

    def make_delivered(self):
        """A delivery that arrived."""
        number = self.make_webhook(self.receiver)
        return self._post("/webhooks/%s/test/" % number)["delivery"]

    def make_waiting(self):
        """A delivery of a webhook that is paused."""
        self._made += 1
        name = "world.waits%d" % self._made
        fields = {"target_url": "%s/waits" % NOBODY_LISTENS, "event": name}
        self._post("/webhooks/%s/pause/" % self._post("/webhooks/", fields)["id"])
        event = self._post("/events/", {"event": name, "data": {}})["id"]
        return self._call("GET", "/deliveries/?event=" + event).json()["results"][0]["id"]

    def make_job(self):
        """A job, which has nothing to do."""
        return self._post("/deliveries/resend/", {"event": "nobody.sends"})["job"]["id"]

    def make_target(self):
        """The id of a target that a webhook of the project has."""
        self.make_webhook()
        return "tgt_" + base64.urlsafe_b64encode(NOBODY_LISTENS.encode()).decode().rstrip("=")

    def _post(self, path, fields=None):
        answer = self._call("POST", path, fields)
        if answer.status // 100 != 2:
            raise AssertionError("%s: %r" % (path, answer))
        return answer.json()

    def _call(self, method, path, fields=None):
        operators = path.startswith(("/projects/", "/operator/"))
        proof = wire.bearer(self.operator_token) if operators else wire.bearer()
        headers = {**proof, "Accept": wire.JSON, "Content-Type": wire.JSON}
        return wire.request(self.port, method, path, headers, json.dumps(fields or {}).encode())
