"""What schemathesis loads: who sends each generated request, and what of the world it names.

Owns credentials, views, ids of things that exist, and the tally of what was answered. Must never
judge an answer, and never let a request leave the machine: targets are loopback addresses, or such
as the daemon refuses. Environment: OPENAPI_WORLD names the file that `run.py` wrote, OPENAPI_TALLY
the one that is written at the end.
"""

import atexit
import collections
import json
import os
import pathlib
import random
import urllib.parse

import hypothesis.strategies as st
import requests.auth
import schemathesis

from harness import wire
from openapi.world import World

SETTINGS = json.loads(pathlib.Path(os.environ["OPENAPI_WORLD"]).read_text())
WORLD = World(**SETTINGS["world"])
RNG = random.Random(SETTINGS["seed"])
TALLY = collections.Counter()
SECONDS = collections.Counter()
# How often a path names what exists, and a request is sent by who may send it.
KNOWN_SHARE, PROVEN_SHARE = 0.8, 0.9
VIEWS = [wire.ACCEPT["own"]] * 3 + [wire.ACCEPT[version] for version in ("0.5", "0.6", "0.7")]
VIEWS += ["*/*", "application/vnd.uploadcare-v0.9+json"]
JSON_API = "application/vnd.api+json"
# Nobody listens at the first ones; the others are refused, or are no targets at all.
URLS = ["http://127.0.0.1:9/%d" % number for number in range(40)]
URLS += ["http://127.0.0.%d:9" % number for number in range(1, 9)]
URLS += ["https://127.0.0.2:9/a?b=c", "http://10.0.0.1/", "http://[::1]:9/", "http://169.254.1.1/a",
         "ftp://127.0.0.1/", "http://a:b@127.0.0.1:9/", "http:///", "http://127.0.0.1:99999/"]
TARGETS = ("target_url", "webhook[target_url]", "target", "webhook", "data", "attributes")

schemathesis.openapi.format("uri", st.sampled_from(URLS))


@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    """A line for each event that there is, or whatever text was generated."""
    if isinstance(value, (list, tuple)):
        return "\n".join(json.dumps(one) for one in value).encode()
    return str(value).encode("utf-8", "replace")


class Signed(requests.auth.AuthBase):
    """The signed scheme, over the request as it is sent."""

    def __call__(self, request):
        body = request.body or b""
        if not isinstance(body, (bytes, str)):
            return request
        body = body.encode() if isinstance(body, str) else body
        kind = request.headers.get("Content-Type", "")
        kind = kind.decode("latin-1") if isinstance(kind, bytes) else kind
        request.headers.update(wire.signed(request.method, request.path_url, body, kind))
        return request


@schemathesis.hook
def before_call(context, case, kwargs):
    """Fills in the world, the view and the credentials."""
    path = case.operation.path
    if RNG.random() < KNOWN_SHARE:
        WORLD.fill(case, RNG)
    WORLD.protect(case)
    case.body = held(case.body)
    if isinstance(case.body, dict) and "idempotency_key" in case.body:
        # The two have to agree, which two that are generated never do.
        case.headers.pop("Idempotency-Key", None)
    jsonapi = path.startswith("/api/") and not path.endswith("/incoming")
    case.headers["Accept"] = RNG.choice([wire.JSON, JSON_API] if jsonapi else VIEWS)
    for name in ("Authorization", "authorization"):
        case.headers.pop(name, None)
    way = RNG.choice(ways(path, jsonapi)) if RNG.random() < PROVEN_SHARE else RNG.choice(WRONG)
    if way == "signed":
        kwargs["auth"] = Signed()
    elif way == "query":
        case.query = {**dict(case.query or {}), "token": WORLD.intake_token}
    else:
        case.headers.update(way)


@schemathesis.hook
def after_call(context, case, response):
    """Counts the answer, and how long it took."""
    TALLY["%s %d" % (case.operation.label, response.status_code)] += 1
    SECONDS[case.operation.label] += response.elapsed


@atexit.register
def write_tally():
    """Leaves the count to `run.py`."""
    pathlib.Path(os.environ["OPENAPI_TALLY"]).write_text(json.dumps({"answers": TALLY, "seconds": SECONDS}))


PROJECT = [wire.simple(), wire.bearer(), "signed"]
OPERATOR = [wire.bearer(WORLD.operator_token)]
INTAKE = [wire.bearer(WORLD.intake_token), wire.simple(), "query"]
WRONG = [{}, wire.bearer("nobody"), wire.simple(secret="wrong"), wire.simple(public="nobody"),
         {"Authorization": "Digest x"}, wire.bearer()]


def ways(path, jsonapi):
    """Proofs of who may ask."""
    if jsonapi:
        return [wire.bearer(), {"Authorization": wire.SECRET_KEY}]
    if path.startswith(("/projects/", "/operator/", "/metrics", "/stats")):
        return OPERATOR
    if path.startswith("/in/") or path.endswith("/incoming"):
        return INTAKE
    return OPERATOR + PROJECT[:1] if path.startswith("/targets/") else PROJECT


def held(body):
    """The body, its targets on this machine."""
    if not isinstance(body, dict):
        return body
    return {name: stays(value) if name in TARGETS else value for name, value in body.items()}


def stays(value):
    """A URL that leads nowhere else, or an object that holds none."""
    if isinstance(value, dict):
        return held(value)
    if not isinstance(value, str) or value in URLS:
        return value
    try:
        host = urllib.parse.urlsplit(value.strip()).hostname
    except ValueError:
        return value
    return RNG.choice(URLS) if host else value
