"""Spellings of addresses and names, and what Python's ipaddress thinks of them.

Writes one JSON object a line: {"url", "address", "verdict"}. `{port}` in a URL is for the caller
to fill in. Verdicts:

  refused    no URL that can be a target
  forbidden  a target that may not be named
  resolves   a name: what it resolves to decides
  public     a target that may be dialled

The address is encoded here and judged by ipaddress; nothing is asked of the program under test.
"""

import ipaddress
import json
import random
import sys

# Where this policy is stricter than ipaddress (of some or all versions), and why.
STRICTER = {
    "168.63.129.16/32": "Azure's host agent: a public address that means the machine below",
    "192.0.0.0/24": "the registry has single anycast hosts in it; older versions list parts only",
    "192.88.99.0/24": "6to4 relays, deprecated by RFC 7526; ipaddress calls them global",
    "64:ff9b:1::/48": "local NAT64 (RFC 8215); missing in older versions",
    "2001::/23": "IETF protocol assignments; newer versions let single ones through",
    "3fff::/20": "documentation (RFC 9637); missing in older versions",
}
STRICTER = [ipaddress.ip_network(text) for text in STRICTER]
# The one case where this policy is less strict: an IPv6-only network reaches public IPv4 hosts
# here, so that the embedded address is what counts (RFC 6052).
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(ip):
    if ip.version == 6:
        if ip in NAT64:
            return is_public(ipaddress.ip_address(int(ip) & 0xFFFFFFFF))
        # ipaddress judges some of these by the embedded address; a tunnel is refused as such.
        if ip.ipv4_mapped or ip.sixtofour or ip.teredo or ip.is_site_local:
            return False
    if any(ip.version == network.version and ip in network for network in STRICTER):
        return False
    return ip.is_global and not (
        ip.is_private or ip.is_multicast or ip.is_reserved or ip.is_loopback
        or ip.is_link_local or ip.is_unspecified
    )


def case(url, ip=None, verdict=None):
    if verdict is None:
        verdict = "public" if is_public(ip) else "forbidden"
    print(json.dumps({"url": url, "address": ip and str(ip), "verdict": verdict}))


def host_case(host, ip=None, verdict=None):
    case(f"http://{host}:{{port}}/", ip, verdict)


# --- IPv4 ---

def digits(text, zero):
    return "".join(chr(zero + int(c)) if c.isdigit() else c for c in text)


def circled(text):
    return "".join("⓪①②③④⑤⑥⑦⑧⑨"[int(c)] if c.isdigit() else c for c in text)


def number(value, base):
    return {8: f"0{value:o}", 10: str(value), 16: f"0x{value:x}", 160: f"0X{value:08X}"}[base]


def v4_spellings(ip, rng):
    n, dotted = int(ip), str(ip)
    a, b, c, d = ip.packed
    base = lambda: rng.choice([8, 10, 16, 160])
    yield dotted
    yield dotted + "."
    for radix in (8, 10, 16, 160):
        yield number(n, radix)
        yield ".".join(number(octet, radix) for octet in (a, b, c, d))
        yield f"{number(a, radix)}.{number(b, radix)}.{number(c << 8 | d, radix)}"
        yield f"{number(a, radix)}.{number(n & 0xFFFFFF, radix)}"
    yield number(n, base()) + "."
    yield ".".join(number(octet, base()) for octet in (a, b, c, d))
    yield f"{number(a, base())}.{number(b, base())}.{number(c << 8 | d, base())}"
    yield f"{number(a, base())}.{number(n & 0xFFFFFF, base())}"
    yield f"0{a:012o}.{b}.{c}.{d}"
    yield f"0x{a:012x}.{b}.{c}.{d}"
    yield "".join(f"%{ord(ch):02x}" for ch in dotted)
    yield dotted.replace(".", "%2E")
    yield digits(dotted, 0xFF10)
    yield digits(dotted, 0x1D7CE)
    yield circled(dotted)
    yield digits(number(n, 10), 0xFF10)
    for dot in "\uff0e\u3002\uff61":
        yield dotted.replace(".", dot)
    yield dotted[0] + "\u00ad" + dotted[1:]  # a soft hyphen, which IDNA drops


# --- IPv6 ---

def v6_spellings(ip, rng):
    low = ipaddress.ip_address(int(ip) & 0xFFFFFFFF)
    # Not from `exploded`, whose form for mapped addresses changed in Python 3.13.
    groups = [f"{int(ip) >> shift & 0xFFFF:04x}" for shift in range(112, -1, -16)]
    yield f"[{ip}]"
    yield f"[{str(ip).upper()}]"
    yield f"[{':'.join(groups)}]"
    yield f"[{':'.join(f'{int(group, 16):x}' for group in groups)}]"
    yield f"[{':'.join(groups[:6])}:{low}]"


def embeddings(v4):
    """IPv6 addresses that carry this IPv4 address."""
    n = int(v4)
    v6 = ipaddress.IPv6Address
    yield v6(0xFFFF << 32 | n)  # mapped
    yield v6(n)  # compatible
    yield v6(0xFFFF << 48 | n)  # translated (RFC 2765)
    yield v6(int(NAT64.network_address) | n)
    yield v6(int(v6("64:ff9b:1::")) | n)  # local NAT64
    yield v6(int(v6("2002::")) | n << 80)  # 6to4
    yield v6(int(v6("2002::")) | n << 80 | 1)
    yield v6(int(v6("2001::")) | n << 64 | (n ^ 0xFFFFFFFF))  # Teredo: server and client
    yield v6(int(v6("fe80::5efe:0:0")) | n)  # ISATAP


# --- what is judged ---

def networks():
    """Every special network that ipaddress knows, and ours."""
    for constants in (ipaddress._IPv4Constants, ipaddress._IPv6Constants):
        for name, value in sorted(vars(constants).items()):
            if name.endswith(("_network", "_networks")):
                yield from value if isinstance(value, (list, tuple)) else [value]
    yield from STRICTER
    yield NAT64
    for text in ("100.64.0.0/10", "fec0::/10", "2002::/16", "2001::/32", "5f00::/16", "2000::/3"):
        yield ipaddress.ip_network(text)


def edges():
    seen = set()
    for network in networks():
        top = (1 << network.max_prefixlen) - 1
        first, last = int(network.network_address), int(network.broadcast_address)
        for n in (first - 1, first, first + 1, last - 1, last, last + 1):
            if 0 <= n <= top and (network.version, n) not in seen:
                seen.add((network.version, n))
                yield type(network.network_address)(n)


KNOWN = (
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "192.168.1.1", "172.16.0.1",
    "169.254.169.254", "100.100.100.200", "168.63.129.16", "8.8.8.8", "1.1.1.1", "224.0.0.1",
)
KNOWN6 = ("::", "::1", "fd00:ec2::254", "fe80::1", "ff02::1", "2606:4700::1111", "2001:4860::8888")

REFUSED = ("127.0.0.1,",
    "256.0.0.1", "1.2.3.4.5", "4294967296", "0x100000000", "040000000000", "127.0.0.256",
    "127.1.65536", "127.16777216", "1..2", "0x7g.0.0.1", "08.0.0.1",
    "[127.0.0.1]", "[::1", "::1", "[::1]x", "[:::1]", "[1:2:3:4:5:6:7:8:9]", "[::12345]",
    "[::256.0.0.1]", "[::1.2.3]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[::ffff:0177.0.0.1]",
    "[::ffff:0x7f.0.0.1]", "", "%00", "127.0.0.1%00", "127.0.0.1%20", "127.0.0.1%2f", "a b",
    "127.0.0.1 ", "127.0.0.1\t", "127.0.0.1\n", "127.0.0.1\u00a0", "127.0.0.1\u3000", "a^b", "a|b",
)
USERINFO = ("8.8.8.8@127.0.0.1", "127.0.0.1@8.8.8.8", "u:p@127.0.0.1", "a%40b@127.0.0.1",
            "example.com:80@127.0.0.1", "u:@127.0.0.1", ":p@127.0.0.1", "x@[::1]")
NAMES = (
    "localhost", "LOCALHOST", "lOcAlHoSt", "localhost.", "localhost..", "a.localhost",
    "a.b.localhost.", "local%68ost", "%6c%6f%63%61%6c%68%6f%73%74", "ｌｏｃａｌｈｏｓｔ", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "local\u00adhost", "localhost\u3002", "ℒocalhost", "𝓵𝓸𝓬𝓪𝓵𝓱𝓸𝓼𝓽", "printer", "printer.", "printer.local",
    "metadata.google.internal", "metadata.google.internal.", "router.home.arpa", "127.0.0.1..",
    "a..example.com", ".example.com", "kubernetes", "host.docker.internal",
)
RESOLVES = ("example.com", "example.com.", "127.0.0.1.example.com", "0x7f000001.example.com",
            "1.0.0.127.in-addr.arpa", "localhost.example.com", "bücher.example", "xn--bcher-kva.example",
            "ｅｘａｍｐｌｅ.com", "127-0-0-1.example.com", "a_b.example.com", "127.0.0.1.0x7g",
            "127.0.0.-1")


def main(seed):
    rng = random.Random(seed)
    for text in KNOWN:
        ip = ipaddress.ip_address(text)
        for host in v4_spellings(ip, rng):
            host_case(host, ip)
        for v6 in embeddings(ip):
            for host in v6_spellings(v6, rng):
                host_case(host, v6)
        # The same host behind every way to begin and end an authority.
        for url in (f"HTTP://{ip}:{{port}}/", f"http:{ip}:{{port}}/", f"http:/{ip}:{{port}}/",
                    f"http:///{ip}:{{port}}/", f"http:\\\\{ip}:{{port}}\\", f"http://{ip}:{{port}}",
                    f"http://{ip}:{{port}}\\@8.8.8.8/", f"http://{ip}:{{port}}?@8.8.8.8/",
                    f"http://{ip}:{{port}}#@8.8.8.8/", f"http://{ip}:0{{port}}/"):
            case(url, ip)
    for text in KNOWN6:
        ip = ipaddress.ip_address(text)
        for host in v6_spellings(ip, rng):
            host_case(host, ip)
    for ip in edges():
        spellings = list((v4_spellings if ip.version == 4 else v6_spellings)(ip, rng))
        for host in [spellings[0], rng.choice(spellings)]:
            host_case(host, ip)
    for _ in range(200):
        v4 = ipaddress.IPv4Address(rng.getrandbits(32))
        host_case(rng.choice(list(v4_spellings(v4, rng))), v4)
        near = rng.choice([0x2000, 0x2001, 0x2002, 0x2606, 0x64, 0xFD00, 0xFE80, rng.getrandbits(16)])
        for v6 in (ipaddress.IPv6Address(near << 112 | rng.getrandbits(112)),
                   rng.choice(list(embeddings(v4)))):
            host_case(rng.choice(list(v6_spellings(v6, rng))), v6)
    for hosts, verdict in ((REFUSED, "refused"), (USERINFO, "refused"), (NAMES, "forbidden"),
                           (RESOLVES, "resolves")):
        for host in hosts:
            host_case(host, verdict=verdict)


main(int(sys.argv[1]))
