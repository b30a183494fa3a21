"""`config check|show|default`, and which of a setting's sources wins.

Owns judging what the program says of its configuration. Must never see a secret in it.
"""

import re
import tomllib

from cli.program import Bare, Folder, run
from harness import wire

KEY, PASSWORD = "a-secret-key-of-the-test", "the-proxys-password"
ENCRYPTION = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
MASK = "********"
FILE = """
[server]
listen = "127.0.0.1:4001"
drain_timeout = "3s"
[store]
path = "here"
encryption_keys = ["%(encryption)s"]
[delivery]
allow = ["10.0.0.0/8", "hooks.internal"]
proxy = "http://user:%(password)s@proxy.internal:3128"
[[project]]
name = "Shop"
public_key = "shop"
secret_key = "%(key)s"
"""


def default(report):
    """`config default` loads as it is, and with every setting uncommented."""
    with Folder("default") as home:
        path = home / "postrider.toml"
        text = run("config", "default").out
        path.write_text(text)
        checked = run("config", "check", path)
        report.check("it loads", checked.code == 0 and "sound" in checked.out, checked)
        shown = run("config", "show", cwd=home)
        origins = {line.split("# ")[1] for line in shown.lines() if " # " in line}
        report.equal("everything in it is a default", origins, {"default"})
        report.equal("found without being named", shown.code, 0)
        for name in ("encryption_keys", "proxy", "demo_secret_key"):
            (home / name).write_text({"encryption_keys": ENCRYPTION,
                                      "proxy": "http://proxy.internal:3128"}.get(name, "k") + "\n")
        (home / "private-ca.pem").write_text("")
        open_ = re.sub(r"^#(\[\[|[a-z_]+ = )", r"\1", text, flags=re.M)
        open_ = re.sub(r'"/etc/(postrider|ssl)/', '"%s/' % home, open_)
        path.write_text(open_)
        checked = run("config", "check", path)
        report.check("every setting uncommented loads", checked.code == 0, checked)
        sections = tomllib.loads(open_)
        report.check("and there are settings", sum(map(len, sections.values())) > 30, sections)


def show(report):
    """`config show` tells what is in force and whence, and masks secrets."""
    with Folder("show") as home:
        path = home / "postrider.toml"
        path.write_text(FILE % {"encryption": ENCRYPTION, "password": PASSWORD, "key": KEY})
        done = run("config", "show", cwd=home, env={"POSTRIDER_SERVER_CLIENT_BURST": "7"})
        report.equal("show", done.code, 0)
        said = [secret for secret in (KEY, PASSWORD, ENCRYPTION) if secret in done.out + done.err]
        report.equal("no secret", said, [])
        values = tomllib.loads(done.out)
        report.equal("its output is TOML", values["server"]["listen"], "127.0.0.1:4001")
        report.equal("secrets are masked", {values["project"][0]["secret_key"],
                                            values["delivery"]["proxy"]}, {MASK})
        origin = {line.split(" = ")[0]: line.split("# ")[1]
                  for line in done.lines() if " # " in line}
        report.equal("origins", [origin["listen"], origin["client_burst"], origin["cache"]],
                     ["postrider.toml:3:10", "env POSTRIDER_SERVER_CLIENT_BURST", "default"])
        report.check("paths start at the file", values["store"]["path"].endswith("here"), values)
        named = run("config", "show", "--config", path)
        report.check("from elsewhere too",
                     tomllib.loads(named.out)["store"]["path"] == str(home / "here"), named)


def precedence(report):
    """Flags before variables, variables before the file."""
    with Folder("precedence") as home:
        (home / "postrider.toml").write_text('[store]\npath = "from-file"\n[log]\nlevel = "warn"\n')
        variable = {"POSTRIDER_STORE_PATH": "from-variable"}

        def path_of(*words, **rest):
            done = run("config", "show", *words, cwd=home, **rest)
            line = next(line for line in done.lines() if line.startswith("path = "))
            return re.match(r'path = "(?:\./)?(.*?)" +# (.*)', line).groups()

        report.equal("the file", path_of()[0], "from-file")
        report.equal("a variable", path_of(env=variable),
                     ("from-variable", "env POSTRIDER_STORE_PATH"))
        report.equal("a flag", path_of("--data", "from-flag", env=variable),
                     ("from-flag", "flag --data"))
        other = home / "other.toml"
        other.write_text('[store]\npath = "from-other"\n')
        report.check("--config", path_of("--config", other)[0].endswith("from-other"))
        report.check("POSTRIDER_CONFIG",
                     path_of(env={"POSTRIDER_CONFIG": str(other)})[0].endswith("from-other"))
        lists = run("config", "show", cwd=home,
                    env={"POSTRIDER_DELIVERY_ALLOW": "10.0.0.0/8,hooks.internal"})
        report.equal("a list in a variable", tomllib.loads(lists.out)["delivery"]["allow"],
                     ["10.0.0.0/8", "hooks.internal"])
        (home / "proxy").write_text("http://u:%s@proxy.internal:3128\n" % PASSWORD)
        twin = run("config", "show", cwd=home,
                   env={"POSTRIDER_DELIVERY_PROXY_FILE": str(home / "proxy")})
        report.check("a variable's twin names a file, and is masked",
                     'proxy = "%s"' % MASK in twin.out and PASSWORD not in twin.out, twin)
        both = run("config", "check", cwd=home,
                   env={"POSTRIDER_DELIVERY_PROXY_FILE": str(home / "proxy"),
                        "POSTRIDER_DELIVERY_PROXY": "none"})
        report.check("both forms: 78", both.code == 78 and "both" in both.err, both)
        credentials = run("config", "show", cwd=home,
                          env={"CREDENTIALS_DIRECTORY": str(credential(home))})
        report.check("a systemd credential is read, and masked",
                     "credential" in credentials.out and ENCRYPTION not in credentials.out,
                     credentials)


def credential(home):
    """A folder of credentials, as systemd passes one."""
    folder = home / "credentials"
    folder.mkdir()
    (folder / "encryption_keys").write_text(ENCRYPTION + "\n")
    return folder


def in_force(report):
    """What is shown is what the daemon does."""
    text = ('[publish]\nevent_bytes_max = "2KiB"\n[[project]]\npublic_key = "p"\n'
            'secret_key = "%s"\n' % KEY)
    with Bare("force", text) as daemon:
        event = b'{"event":"a","data":{"text":"%s"}}'
        for count, status in ((1000, 202), (3000, 413)):
            answer = wire.request(daemon.port, "POST", "/events/",
                                  {**wire.simple("p", KEY), "Content-Type": wire.JSON},
                                  event % (b"x" * count))
            report.equal("a limit of the file: %d bytes" % count, answer.status, status)


PARTS = (default, show, precedence, in_force)
