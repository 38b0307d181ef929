"""What bytes are, by looking at them: never by a name or a header that a client sent."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageOps, UnidentifiedImageError

from ifarm.core.errors import RuleBroken

MOST_PIXELS: Final = 50_000_000
"""More than phones' cameras make; about 150 MB in memory. A small file can say that it is a huge picture."""
LARGEST_SIDE_PX: Final = 4096
QUALITY: Final = 85
JPEG: Final = "image/jpeg"
PDF: Final = "application/pdf"
EXTENSIONS: Final = {JPEG: "jpg", PDF: "pdf"}
_PICTURES: Final = ("JPEG", "PNG", "WEBP")
_MAGIC: Final = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"%PDF-", "PDF"))


@dataclass(frozen=True, slots=True)
class Looked:
    """Bytes that may be shown, and what they are."""

    body: bytes
    content_type: str
    width_px: int | None = None
    height_px: int | None = None


def kind_of(body: bytes) -> str | None:
    """JPEG, PNG, WEBP or PDF by the first bytes; None for anything else."""
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for magic, kind in _MAGIC if body.startswith(magic)), None)


def look_at(body: bytes, *, documents: bool) -> Looked:
    """A picture, made anew as JPEG (without EXIF, place and all), or a PDF as it is. Raises `RuleBroken`."""
    kind = kind_of(body)
    if kind == "PDF" and documents:
        return Looked(body, PDF)
    if kind not in _PICTURES:
        wanted = "JPEG, PNG, WebP or PDF" if documents else "JPEG, PNG or WebP"
        raise RuleBroken(f"expected {wanted}, found something else.")
    try:
        return _made_anew(body, kind)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RuleBroken(
            f"expected a picture, found one that cannot be read ({type(error).__name__})."
        ) from None


def _made_anew(body: bytes, kind: str) -> Looked:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the next lines decide
        picture = Image.open(io.BytesIO(body), formats=(kind,))
    if picture.width * picture.height > MOST_PIXELS:
        raise RuleBroken(
            f"expected {MOST_PIXELS:,} pixels at most, found {picture.width} x {picture.height}."
        )
    picture.draft("RGB", (LARGEST_SIDE_PX, LARGEST_SIDE_PX))  # a JPEG is decoded no larger than needed
    whole = ImageOps.exif_transpose(picture)  # upright, before the note that says so goes
    whole.thumbnail((LARGEST_SIDE_PX, LARGEST_SIDE_PX))
    flat = Image.new("RGB", whole.size, "white")
    coloured = whole.convert("RGBA")
    flat.paste(coloured, mask=coloured.getchannel("A"))
    made = io.BytesIO()
    flat.save(made, "JPEG", quality=QUALITY, optimize=True)
    return Looked(made.getvalue(), JPEG, flat.width, flat.height)
