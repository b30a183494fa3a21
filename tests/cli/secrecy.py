"""What is never said: keys, secrets, tokens and payloads, in logs, errors and help.

Owns canaries in every place that could leak, at the loudest level. Must never look for less than
the whole log.
"""

import json
import re

from cli.program import Bare, run
from harness import wire
from harness.receiver import Receiver

CANARIES = {
    "secret key": "canary-secret-key-7f3a",
    "signing secret": "canary-signing-secret-91c2",
    "payload": "canary-payload-55d0",
    "query": "canary-query-e8b1",
    "extra header": "canary-extra-header-0c6e",
    "wrong key": "canary-wrong-key-4a77",
    "wrong bearer": "canary-wrong-bearer-6d19",
    "idempotency key": "canary-idempotency-b3f8",
    "proxy password": "canary-proxy-password-2e50",
}
CONFIG = """[delivery]
allow = ["127.0.0.0/8"]
[log]
format = "%s"
level = "trace"
[[project]]
public_key = "shop"
secret_key = "%s"
"""
VERBS = ["serve", "dev", "listen", "send", "project", "webhook", "config", "verify", "version", "bench"]


def exercise(daemon, receiver):
    """One of everything that carries a canary, sound and unsound."""
    keys = {**wire.simple("shop", CANARIES["secret key"]), "Content-Type": wire.JSON,
            "Accept": wire.JSON}

    def call(method, path, fields=None, headers=None):
        body = b"" if fields is None else json.dumps(fields).encode()
        return wire.request(daemon.port, method, path, {**keys, **(headers or {})}, body)

    url = receiver.url("/hook?token=" + CANARIES["query"])
    hook = {"target_url": url, "event": "file.uploaded",
            "signing_secret": CANARIES["signing secret"],
            "headers": {"X-Key": CANARIES["extra header"]}}
    made = call("POST", "/webhooks/", hook).json()
    data = {"event": "file.uploaded", "data": {"name": CANARIES["payload"]}}
    call("POST", "/events/", data, {"Idempotency-Key": CANARIES["idempotency key"]})
    call("POST", "/events/", {**data, "data": {}}, {"Idempotency-Key": CANARIES["idempotency key"]})
    call("POST", "/events/", {**data, "event": CANARIES["payload"] + "!"})
    torn = b'{"event":"' + CANARIES["payload"].encode()
    wire.request(daemon.port, "POST", "/events/", keys, torn)
    call("POST", "/webhooks/", {**hook, "signing_secret": CANARIES["signing secret"] * 2})
    call("PUT", "/webhooks/%d/" % made["id"], {"signing_secret": CANARIES["signing secret"]})
    call("POST", "/webhooks/%d/test/" % made["id"])
    call("GET", "/webhooks/?token=" + CANARIES["query"])
    for auth in (wire.simple("shop", CANARIES["wrong key"]), wire.bearer(CANARIES["wrong bearer"]),
                 {"Authorization": "Basic " + CANARIES["wrong key"]},
                 wire.signed("GET", "/webhooks/", public="shop", secret=CANARIES["wrong key"]),
                 {"Authorization": "Uploadcare.Simple " + CANARIES["wrong key"]}):
        wire.request(daemon.port, "GET", "/webhooks/", auth)
    call("POST", "/webhooks/%d/pause/" % made["id"])
    call("DELETE", "/webhooks/%d/" % made["id"])


def logs(report):
    """Every form of the log, at the loudest level."""
    for form in ("json", "pretty", "journald"):
        receiver = Receiver(lambda delivery: 500 if "hook" in delivery.path else 200)
        daemon = Bare("secrecy", CONFIG % (form, CANARIES["secret key"]))
        try:
            daemon.start()
            token = re.search(r"operator token +(\S+)",
                              (daemon.data / "first-start-keys").read_text())[1]
            wire.request(daemon.port, "GET", "/projects/", wire.bearer(token))
            exercise(daemon, receiver)
            run("project", "create", "--data", daemon.data)
            daemon.terminate()
            log = daemon.log()
            report.check("%s: there is a log" % form, log.count("\n") > 20, log)
            for name, canary in {**CANARIES, "operator token": token}.items():
                report.check("%s: no %s" % (form, name), canary not in log,
                             [line for line in log.splitlines() if canary in line][:3])
            if form == "json":
                report.check("json: every line is", all(isinstance(json.loads(line), dict)
                                                        for line in log.splitlines()))
        finally:
            daemon.close(keep=report.failed > 0)
            receiver.close()


def errors(report):
    """Mistakes in the configuration are told without the values of secrets."""
    daemon = Bare("mistakes")
    try:
        for text, name in [
            ('[[project]]\npublic_key = "a"\nsecret_key = "%s :"\n', "secret key"),
            ('[[project]]\npublic_key = "a"\nsecret_keys = "%s"\n', "secret key"),
            ('[delivery]\nproxy = "socks5://u:%s@p:1"\n', "proxy password"),
            ('[store]\nencryption_keys = ["%s"]\n', "secret key"),
            ('[[project]]\npublic_key = "a"\nsecret_key = "%s\n', "secret key"),
        ]:
            daemon.configure(text % CANARIES[name])
            done = run("config", "check", daemon.config)
            report.equal("%.40r: 78" % text, done.code, 78)
            report.check("%.40r: no secret" % text, CANARIES[name] not in done.err + done.out, done)
        variable = run("config", "show", cwd=daemon.home, env={
            "POSTRIDER_CONFIG": "", "POSTRIDER_DELIVERY_PROXY":
            "http://u:%s@p.internal:1" % CANARIES["proxy password"]})
        report.check("nor of a variable", CANARIES["proxy password"] not in
                     variable.out + variable.err, variable)
    finally:
        daemon.close(keep=report.failed > 0)


def help_texts(report):
    """Help shows names of variables and flags, never values of the environment."""
    environment = {"POSTRIDER_DELIVERY_PROXY": "http://u:%s@p:1" % CANARIES["proxy password"],
                   "POSTRIDER_CONFIG": "/" + CANARIES["secret key"]}
    for verb in VERBS + [None]:
        done = run(*([verb] if verb else []), "--help", env=environment)
        said = [name for name, canary in CANARIES.items() if canary in done.out + done.err]
        report.equal("%s --help: 0, no value" % (verb or ""), (done.code, said), (0, []))


PARTS = (logs, errors, help_texts)
