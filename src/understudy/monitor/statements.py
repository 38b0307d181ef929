"""Statements without what is in them: every literal becomes ``?``, comments go, white space folds.

Where it is unclear how far a literal reaches (text cut off by the server, a backslash whose meaning depends on a
setting of the session), everything after its beginning is hidden. Source of the lexical rules: PostgreSQL's manual,
"Lexical Structure".
"""

from __future__ import annotations

import re

SHOWN = 300
"""Characters of a statement that a notice shows."""

_TOKEN = re.compile(
    r"""
      (?P<gap> \s+ | --[^\n]*\n? | /\*(?:(?!/\*|\*/).)*\*/ )
    | (?P<name> "(?:[^"]|"")*" )
    | (?P<escape> [eE]'(?:[^'\\]|\\.|'')*' )
    | (?P<text> (?:[bBxXnN]|[uU]&)?'(?:[^'\\]|'')*' )
    | (?P<dollar> \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ )
    | (?P<open> [eEbBxXnN]?' | [uU]&' | " | /\* | \$(?:[^\W\d]\w*)?\$ )
    | (?P<parameter> \$\d+ )
    | (?P<number> (?:0[xXoObB][0-9a-fA-F_]+ | (?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?) )
    | (?P<word> [^\W\d][\w$]* )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_LIST = re.compile(r"\?(?:\s*,\s*\?)+")


def normalised(text: str, limit: int = SHOWN) -> str:
    """The statement without its literals, in one line of at most ``limit`` characters.

    Names, keywords and operators stay. A list of literals becomes ``?, ...``, so that lists of different lengths
    are one statement.
    """
    parts: list[str] = []
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup if token.lastgroup != "tag" else "dollar"
        if kind == "open":
            parts.append("?...")
            break
        if kind == "gap":
            parts.append(" ")
        elif kind in ("name", "word", "other"):
            parts.append(token.group())
        else:
            parts.append("?")
    line = _LIST.sub("?, ...", " ".join("".join(parts).split()))
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= limit else line[: limit - 3] + "..."
