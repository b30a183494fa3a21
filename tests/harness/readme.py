"""Blocks of README.md, so that suites run what it shows.

Owns how a block is found. Must never change more of one than addresses and keys.
"""

import pathlib
import re

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"


def block(language, holds):
    """The one block of a language that holds a text."""
    blocks = re.findall(r"^```%s\n(.*?)^```$" % language, README.read_text(), re.M | re.S)
    found = [text for text in blocks if holds in text]
    if len(found) != 1:
        raise AssertionError("README.md has %d %s blocks with %r" % (len(found), language, holds))
    return found[0]


def with_values(text, values):
    """The block with other values; each has to be in it."""
    for shown, real in values.items():
        if shown not in text:
            raise AssertionError("README.md does not show %r in:\n%s" % (shown, text))
        text = text.replace(shown, real)
    return text


def run_python(text, **names):
    """Runs a block, which sees these names; answers with all names after it."""
    exec(compile(text, "README.md", "exec"), names)  # noqa: S102
    return names
