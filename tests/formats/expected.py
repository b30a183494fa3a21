"""What is delivered of each published event, as a second opinion on names and derived ids.

Owns its own table of names, its own derivation of ids, and filling in a golden line what one run
alone has: ids, keys, targets, times. Must never share code with the daemon.
"""

import hashlib
import json
import pathlib

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden" / "pairs"
DIALECTS = ("uploadcare", "jsonapi", "lancer", "custom")
FORMATS = ("uploadcare-0.5", "uploadcare-0.6", "uploadcare-0.7", "jsonapi", "lancer", "standard",
           "cloudevents")
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
GOLDEN_EVENT = "evt_0000000000000G000000000002"
GOLDEN_EVENTS = ('["file.deleted","file.created","file.updated","group.created","group.updated",'
                 '"group.deleted","action.created","action.updated","order.paid","card.moved"]')

# By published dialect and name: the canonical name, Uploadcare's, JSON:API's, Lancer's.
TABLE = {
    ("uploadcare", "file.uploaded"): ("file.uploaded", "file.uploaded", "file.created",
                                      "FILE_UPLOAD"),
    ("uploadcare", "file.infected"): ("file.infected", "file.infected", "file.updated", None),
    ("uploadcare", "file.stored"): ("file.stored", "file.stored", "file.updated", None),
    ("uploadcare", "file.info_updated"): ("file.info_updated", "file.info_updated",
                                          "file.updated", None),
    ("uploadcare", "file.deleted"): ("file.deleted", "file.deleted", "file.deleted",
                                     "FILE_DELETE"),
    ("jsonapi", "file.created"): ("file.uploaded", "file.uploaded", "file.created", "FILE_UPLOAD"),
    ("jsonapi", "file.updated"): ("file.info_updated", "file.info_updated", "file.updated", None),
    ("jsonapi", "file.deleted"): ("file.deleted", "file.deleted", "file.deleted", "FILE_DELETE"),
    ("lancer", "FILE_UPLOAD"): ("file.uploaded", "file.uploaded", "file.created", "FILE_UPLOAD"),
    ("lancer", "FILE_DELETE"): ("file.deleted", "file.deleted", "file.deleted", "FILE_DELETE"),
}
for _name in ("group.created", "group.updated", "group.deleted", "action.created",
              "action.updated"):
    TABLE["jsonapi", _name] = (_name, None, _name, None)
for _verb in ("created", "cancelled", "completed"):
    TABLE["lancer", "SESSION_" + _verb.upper()] = ("session." + _verb, None, None,
                                                   "SESSION_" + _verb.upper())
for _name in ("order.paid", "card.moved"):
    TABLE["custom", _name] = (_name, _name, _name, None)


def name_in(dialect, event, form):
    """What a published event is called in a format; None if it does not reach it."""
    canonical, uploadcare, jsonapi, lancer = TABLE[dialect, event]
    if form in ("uploadcare-0.5", "uploadcare-0.6"):
        return uploadcare if uploadcare == "file.uploaded" else None
    return {"uploadcare-0.7": uploadcare, "jsonapi": jsonapi, "lancer": lancer,
            "standard": canonical, "cloudevents": canonical}[form]


def names_of(form):
    """Every name that something published is delivered by in a format."""
    names = {name_in(dialect, event, form) for dialect, event in TABLE}
    return sorted(names - {None})


def published(dialect):
    """The published events of a dialect: the name, and the body to post."""
    lines = (GOLDEN / ("published-%s.ndjson" % dialect)).read_text("utf-8").splitlines()
    return [(json.loads(line)["event"], line) for line in lines]


def golden(dialect, form):
    """The golden body of each event of a dialect in a format, by the event's place."""
    places = [place for place, (event, _) in enumerate(published(dialect))
              if name_in(dialect, event, form)]
    file = GOLDEN / ("%s-to-%s.ndjson" % (dialect, form))
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    if len(lines) != len(places):
        raise RuntimeError("%s: %d lines, wanted %d" % (file, len(lines), len(places)))
    return dict(zip(places, lines))


def derived(prefix, *parts):
    """An id of JSON:API: the prefix and 22 digits of the hash's first half in base 62."""
    text = "\0".join((prefix,) + parts)
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
    digits = ""
    for _ in range(22):
        number, digit = divmod(number, 62)
        digits += DIGITS[digit]
    return prefix + digits


def fill(line, name, event, webhook, public_id, public_key):
    """A golden line as this run has to have sent it to this webhook."""
    text = json.dumps(webhook["target_url"], ensure_ascii=False)
    pairs = [
        (derived("we-", GOLDEN_EVENT, name), derived("we-", event, name)),
        (derived("a-", GOLDEN_EVENT.lower()), derived("a-", event.lower())),
        (GOLDEN_EVENT, event),
        (GOLDEN_EVENTS, json.dumps([name])),
        ('"https://webhook.site/0dc52067?a=1&b=é"', text),
        ('"id":1446695,', '"id":%d,' % webhook["id"]),
        ('"project_id":42797', '"project_id":%d' % webhook["project"]),
        ("wh-0000000000000000000000", public_id),
        ("3a8b234aef4a1d339b88", public_key),
        ("2023-01-18T10:34:05.246000Z", webhook["created"]),
        ("2023-01-19T11:00:00.000000Z", webhook["updated"]),
        ('"signing_secret":"12345X"', '"signing_secret":"%s"' % webhook["signing_secret"]),
    ]
    for old, new in pairs:
        line = line.replace(old, new)
    return line
