"""The OpenAPI document against the specification, against what is delivered, and against the daemon.

Owns the world that requests are about, the closing of the schemas, and the judgement of
schemathesis' run. Must never leave an operation out but by its name and with the reason.
Environment: POSTRIDER_BINARY, POSTRIDER_SEED, POSTRIDER_OPENAPI_EXAMPLES.
"""

import copy
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import jsonschema
from openapi_spec_validator import OpenAPIV31SpecValidator

from harness import wire
from harness.daemon import PROJECT_ID, Daemon
from harness.receiver import Receiver
from harness.report import Report

FIRST = "first-start-keys"
CASES_MIN = 5_000
OPERATIONS_2XX_SHARE_MIN = 0.95
# Examples are among what the other phases try.
PHASES = "coverage,fuzzing"
EXAMPLES = 6
SECONDS_MAX = 30
RUN_SECONDS_MAX = 1_500
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance",
          "response_headers_conformance", "response_schema_conformance")
# Described, but not tried here: what lasts as long as its client wants. A session is the control
# socket's alone, too (`tests/cli/listen.py` tries it); `tests/api` tries the stream.
NOT_TRIED = {"/listen/": "post", "/deliveries/stream/": "get",
             "/projects/{project}/deliveries/stream/": "get"}
# What webhooks of each entry of the document's `webhooks` are made with, and an event for it.
FORMATS = {
    "uploadcare-0.5": ({"format": "uploadcare", "version": "0.5"}, "file.uploaded"),
    "uploadcare-0.6": ({"format": "uploadcare", "version": "0.6"}, "file.uploaded"),
    "uploadcare-0.7": ({"format": "uploadcare", "version": "0.7"}, "file.info_updated"),
    "jsonapi": ({"format": "jsonapi"}, "file.created"),
    "lancer": ({"format": "lancer", "file_delete": "array"}, "FILE_DELETE"),
    "standard": ({"format": "standard"}, "session.created"),
    "cloudevents": ({"format": "cloudevents"}, "group.created"),
}


def reached(document, roots):
    """The names of the schemas that these parts of a document lead to."""
    found, ahead = set(), list(roots)
    while ahead:
        part = ahead.pop()
        if isinstance(part, list):
            ahead += part
        elif isinstance(part, dict):
            ahead += part.values()
            name = str(part.get("$ref", "")).partition("#/components/schemas/")[2]
            if name and name not in found:
                found.add(name)
                ahead.append(document["components"]["schemas"][name])
    return found


def close(part):
    """Closes every object that names its fields."""
    if isinstance(part, list):
        for one in part:
            close(one)
    elif isinstance(part, dict):
        for one in part.values():
            close(one)
        if part.get("type") == "object" and "properties" in part:
            part.setdefault("additionalProperties", False)


def closed(document):
    """The document, its answers and payloads closed: a field that is not described is a failure."""
    document = copy.deepcopy(document)
    answers = [operation["responses"] for item in document["paths"].values()
               for method, operation in item.items() if method != "parameters"]
    answers += [document["components"]["responses"], document["webhooks"]]
    for name in reached(document, answers):
        close(document["components"]["schemas"][name])
    close(answers)
    return document


def serving(report, port):
    """How the document is served, and that it is one; answers with it."""
    first = wire.request(port, "GET", "/openapi.json")
    report.equal("served to everybody", first.status, 200)
    report.equal("its type", first.headers.get("content-type"), "application/vnd.oai.openapi+json")
    tag = first.headers.get("etag", "")
    again = wire.request(port, "GET", "/openapi.json", {"If-None-Match": tag})
    report.equal("not sent again", (again.status, again.body), (304, b""))
    head = wire.request(port, "HEAD", "/openapi.json")
    report.equal("HEAD", (head.status, head.headers.get("etag"), head.headers.get("content-length")),
                 (200, tag, str(len(first.body))))
    document = first.json()
    errors = [str(error)[:500] for error in OpenAPIV31SpecValidator(document).iter_errors()]
    report.equal("valid OpenAPI 3.1", errors, [])
    for name, schema in document["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        report.check("schema %s" % name, True)
    for path, method in NOT_TRIED.items():
        report.check("%s is described" % path, method in document["paths"][path])
    return document


def payloads(report, port, receiver, document):
    """A delivery in every format, judged by what the document says of it."""
    report.equal("a payload for each format", sorted(document["webhooks"]), sorted(FORMATS))
    strict = closed(document)
    headers = {**wire.simple(), "Accept": wire.JSON, "Content-Type": wire.JSON}
    for name, (fields, event) in FORMATS.items():
        path = "/payload/" + name
        made = wire.request(port, "POST", "/webhooks/", headers, json.dumps(
            {"target_url": receiver.url(path), "event": event, "signing_secret": "a secret",
             **fields}).encode())
        if not report.equal("%s: a webhook" % name, made.status, 201):
            continue
        tested = wire.request(port, "POST", "/webhooks/%d/test/" % made.json()["id"], headers)
        report.equal("%s: a test" % name, tested.status, 200)
        got = [one for one in receiver.deliveries if one.path == path]
        if report.equal("%s: one delivery" % name, len(got), 1):
            judge_payload(report, name, strict, got[0])


def judge_payload(report, name, document, delivery):
    """One delivery: its type, its headers and its body."""
    operation = document["webhooks"][name]["post"]
    kind = delivery.headers.get("content-type")
    content = operation["requestBody"]["content"]
    if report.check("%s: its type" % name, kind in content, kind):
        schema = {**content[kind]["schema"], "components": document["components"]}
        report.equal("%s: its body" % name, problems(schema, json.loads(delivery.body)), [])
    for header in operation["parameters"]:
        value = delivery.headers.get(header["name"].lower())
        said = "%s: %s" % (name, header["name"])
        # It is signed, so that those of a signature are there too.
        if report.check(said, value is not None, "missing"):
            report.equal(said, problems(header["schema"], value), [])
    described = {header["name"].lower() for header in operation["parameters"]}
    ours = [one for one in delivery.headers
            if one.startswith(("postrider-", "webhook-", "x-")) and one not in described]
    report.equal("%s: no other header of ours" % name, ours, [])


def problems(schema, value):
    """What a schema has against a value."""
    return [error.message[:300]
            for error in jsonschema.Draft202012Validator(schema).iter_errors(value)]


def run_schemathesis(report, settings, document, folder):
    """All phases, over everything that may be tried; answers with the tally."""
    document = closed(document)
    for path in NOT_TRIED:
        del document["paths"][path]
    files = {name: folder / (name + ".json") for name in ("openapi", "world", "tally")}
    files["openapi"].write_text(json.dumps(document))
    files["world"].write_text(json.dumps(settings))
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "openapi.hooks", "NO_COLOR": "1",
                   "OPENAPI_WORLD": str(files["world"]), "OPENAPI_TALLY": str(files["tally"])}
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(files["openapi"])]
    command += ["--url", "http://127.0.0.1:%d" % settings["world"]["port"]]
    command += ["--checks", ",".join(CHECKS), "--phases", PHASES]
    command += ["--max-examples", os.environ.get("POSTRIDER_OPENAPI_EXAMPLES", str(EXAMPLES))]
    command += ["--seed", str(settings["seed"]), "--workers", "1", "--warnings", "off"]
    command += ["--suppress-health-check", "all", "--continue-on-failure", "--no-shrink"]
    command += ["--generation-with-security-parameters", "false", "--generation-database", "none"]
    command += ["--request-timeout", str(SECONDS_MAX), "--no-color"]
    done = subprocess.run(command, cwd=folder, env=environment, timeout=RUN_SECONDS_MAX, check=False)
    told = json.loads(files["tally"].read_text()) if files["tally"].exists() else {}
    slowest = sorted(told.get("seconds", {}).items(), key=lambda pair: -pair[1])[:5]
    print("# longest: %s" % ", ".join("%s %.1f s" % pair for pair in slowest), flush=True)
    judge(report, document, told.get("answers", {}), done.returncode)


def judge(report, document, tally, code):
    """Every answer was described, there were enough of them, and most operations succeed too."""
    cases = sum(tally.values())
    report.equal("schemathesis has nothing against %d answers" % cases, code, 0)
    report.check("at least %d cases" % CASES_MIN, cases >= CASES_MIN, cases)
    operations = {"%s %s" % (method.upper(), path) for path, item in document["paths"].items()
                  for method in item if method != "parameters"}
    succeeded = {label.rpartition(" ")[0] for label in tally if label.rpartition(" ")[2][0] == "2"}
    tried = {label.rpartition(" ")[0] for label in tally}
    report.equal("every operation is tried", sorted(operations - tried), [])
    # A project may not set a target, so that its operator's paths to do so say no alone.
    promised = {label for label in operations if promises(document, label)}
    missed = sorted(promised - succeeded)
    for operation in missed:
        print("# %s: %s" % (operation, {label.rpartition(" ")[2]: count for label, count in tally.items()
                                        if label.rpartition(" ")[0] == operation}))
    print("# %d of %d operations had a 2xx; not: %s" % (
        len(promised) - len(missed), len(promised), ", ".join(missed) or "-"), flush=True)
    enough = len(missed) <= (1 - OPERATIONS_2XX_SHARE_MIN) * len(promised)
    report.check("nearly all of them succeed too", enough, missed)
    errors = sorted(label for label in tally if label.rpartition(" ")[2][0] == "5")
    print("# answers of 5xx: %s" % (", ".join(errors) or "none"), flush=True)
    by_status = {}
    for label, count in tally.items():
        status = label.rpartition(" ")[2]
        by_status[status] = by_status.get(status, 0) + count
    print("# by status: %s" % ", ".join("%s: %d" % pair for pair in sorted(by_status.items())))
    report.add(cases if code == 0 else 0, 0)


def promises(document, label):
    """Whether an operation says that it may succeed."""
    method, _, path = label.partition(" ")
    return any(status[0] == "2" for status in document["paths"][path][method.lower()]["responses"])


def world(daemon, receiver):
    """The operator's token, as the first start wrote it, and an intake token."""
    text = (daemon.data / FIRST).read_text()
    token = re.search(r"operator token +(\S+)", text).group(1)
    headers = wire.bearer(token)
    own = wire.request(daemon.port, "GET", "/operator/tokens/", headers).json()[0]["id"]
    made = wire.request(daemon.port, "POST", "/projects/%d/tokens/" % PROJECT_ID, headers)
    return {"port": daemon.port, "operator_token": token, "operator_id": own,
            "intake_token": made.json()["token"], "intake_id": made.json()["id"], "receiver": receiver.url("")}


def main(report, seed):
    """The document, the payloads, and then whatever schemathesis thinks of."""
    daemon, receiver = Daemon("openapi"), Receiver()
    try:
        daemon.start()
        document = serving(report, daemon.port)
        payloads(report, daemon.port, receiver, document)
        with tempfile.TemporaryDirectory(prefix="postrider-openapi-") as folder:
            settings = {"seed": seed, "world": world(daemon, receiver)}
            run_schemathesis(report, settings, document, pathlib.Path(folder))
        report.equal("the daemon is ready after all of it", daemon.get_status("/readyz"), 200)
        errors = [line for line in daemon.log().splitlines() if '"ERROR"' in line]
        report.equal("no error in the log", errors[:3], [])
        report.equal("it stops with 0", daemon.terminate()[0], 0)
    finally:
        receiver.close()
        daemon.close(keep=report.failed > 0)


if __name__ == "__main__":
    number = int(os.environ.get("POSTRIDER_SEED", "1"))
    suite = Report("the OpenAPI document and schemathesis, seed %d" % number, quiet=True)
    suite.run(lambda: main(suite, number))
    suite.close()
