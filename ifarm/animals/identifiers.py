"""One form for what is written on a tag, so that spaces, dashes and lost zeros make no second animal."""

from __future__ import annotations

import re

from ifarm.animals.words import IdentifierKind

_NOISE = re.compile(r"[\s.\-_/]+")
_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
_EID = re.compile(r"\d{15}")


def normalised(kind: IdentifierKind, value: str) -> str:
    """Upper case, without separators and leading zeros of numbers: ``at 0012-34`` is ``AT1234``.

    An EID is the 15 digits of ISO 11784 without leading zeros (Austria is 040, and spreadsheets lose that zero).
    Raises ValueError where nothing is left, or an EID has other than 14 or 15 digits.
    """
    bare = _NOISE.sub("", value).upper()
    if kind is IdentifierKind.EID and not _EID.fullmatch(bare.zfill(15) if len(bare) == 14 else bare):
        raise ValueError(f"expected 15 digits (ISO 11784), found {value!r}")
    found = _ZEROS.sub("", bare)
    if not found:
        raise ValueError("expected letters or digits, found none")
    return found
