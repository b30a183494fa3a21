"""S3: moto's S3 tells moto's SNS, which posts `text/plain` to the intake, as AWS does.

Owns one bucket and what happens in it. Must never post to the intake itself.
"""

import logging
import uuid

import boto3
from harness import readme
from harness.daemon import free_port
from moto.server import ThreadedMotoServer
from producers.suite import Suite

KEY = "dir/my photo+é.png"
FORMS = [
    ("uploadcare-0.7", "file.uploaded"), ("uploadcare-0.7", "file.deleted"),
    ("uploadcare-0.5", "file.uploaded"), ("jsonapi", "file.created"), ("jsonapi", "file.deleted"),
    ("lancer", "FILE_UPLOAD"), ("lancer", "FILE_DELETE"), ("standard", "file.uploaded"),
    ("standard", "file.deleted"), ("cloudevents", "file.uploaded"), ("cloudevents", "file.deleted"),
]


def run(report):
    """An object is put and deleted; every format hears of it once."""
    suite = Suite(report, "s3")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    moto.start()
    try:
        for form, event in FORMS:
            suite.subscribe(form, event)
        token = suite.token(name="sns")["token"]
        base = suite.daemon.base.rstrip("/")
        bucket = connected("http://127.0.0.1:%d" % moto._port, base, token)
        bucket.put_object(Bucket="uploads", Key=KEY, Body=b"12345678", ContentType="image/png")
        bucket.delete_object(Bucket="uploads", Key=KEY)
        paths = {"/%s/%s" % one for one in FORMS}
        suite.wait("the object reaches every format", lambda seen: paths <= set(seen))
        suite.settle()
        judge(report, suite)
        suite.verify()
    finally:
        moto.stop()
        suite.close()


def connected(endpoint, base, token):
    """A bucket whose events go to a topic, and the topic's to the intake, as README.md shows."""
    place = {"endpoint_url": endpoint, "region_name": "us-east-1",
             "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    topics, bucket = boto3.client("sns", **place), boto3.client("s3", **place)
    topic = topics.create_topic(Name="uploads")["TopicArn"]
    bucket.create_bucket(Bucket="uploads")
    shown = readme.with_values(readme.block("python", "sns.subscribe"), {"http://127.0.0.1:8080": base})
    readme.run_python(shown, sns=topics, s3=bucket, topic=topic, token=token)
    return bucket


def judge(report, suite):
    """Each format's body."""
    own = str(uuid.uuid5(uuid.NAMESPACE_URL, "s3://uploads/" + KEY))
    for form, event in FORMS:
        report.equal("%s %s comes once" % (form, event), len(suite.seen("/%s/%s" % (form, event))), 1)
    new = suite.seen("/uploadcare-0.7/file.uploaded")[0]["data"]
    report.equal("0.7 data", (new["uuid"], new["original_filename"], new["size"], new["mime_type"]),
                 (own, "my photo+é.png", 8, "image/png"))
    report.equal("0.7 key", (new["metadata"]["bucket"], new["metadata"]["key"]), ("uploads", KEY))
    gone = suite.seen("/uploadcare-0.7/file.deleted")[0]["data"]
    report.equal("the same file is deleted", gone["uuid"], own)
    report.equal("Lancer's file", suite.seen("/lancer/FILE_UPLOAD")[0]["data"]["id"], own)
    report.equal("standard", suite.seen("/standard/file.deleted")[0]["data"]["uuid"], own)
    report.equal("cloudevents", suite.seen("/cloudevents/file.deleted")[0]["data"]["uuid"], own)
