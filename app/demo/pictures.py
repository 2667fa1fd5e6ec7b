"""Pictures: a bar chart as PNG, and the value with which a tracing client stores a picture in a call."""

import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final

import orjson

from stores.files import NewFile
from stores.files.weave_content import METADATA_NAME, value_of

_WIDTH, _HEIGHT, _BAR, _GAP = 320, 120, 24, 12
_COLOURS: Final = bytes.fromhex("ffffff 6b4eff 00a38d f2a541 e4572e 3d5a80 9c89b8 7a9e7e b56576 4f6d7a")
"""RGB colours of the background, then of the bars in order."""
_BAR_COLOURS: Final = len(_COLOURS) // 3 - 1


def bar_chart(counts: Sequence[int]) -> bytes:
    """Return a PNG with one bar for each count; the highest bar has the height of the picture."""
    highest = max([*counts, 1])
    tops = [_HEIGHT - (_HEIGHT - _GAP) * count // highest for count in counts]
    colours = [1 + number % _BAR_COLOURS for number in range(len(counts))]
    bars = list(zip(tops, colours, strict=True))

    def line(y: int) -> bytes:
        pixels = b"".join(bytes(_GAP) + bytes([colour if y >= top else 0]) * _BAR for top, colour in bars)
        return pixels.ljust(_WIDTH, b"\0")[:_WIDTH]

    return _png([line(y) for y in range(_HEIGHT)])


def _png(lines: list[bytes]) -> bytes:
    """Encode lines of pixels as a PNG; each byte is an index into the colours."""
    size_and_kind = struct.pack(">2I5B", _WIDTH, len(lines), 8, 3, 0, 0, 0)
    unfiltered = b"".join(b"\0" + line for line in lines)
    chunks = [(b"IHDR", size_and_kind), (b"PLTE", _COLOURS), (b"IDAT", zlib.compress(unfiltered, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def content(png: bytes, name: str, content_id: str) -> tuple[dict[str, Any], list[NewFile]]:
    """Return the value that represents a picture in a call, and the files that it refers to."""
    picture = NewFile.of(png, name)
    known = {
        "id": content_id,
        "size": picture.size_bytes,
        "mimetype": "image/png",
        "digest": picture.digest,
        "filename": name,
        "content_type": "bytes",
        "input_type": "bytes",
        "encoding": "utf-8",
        "metadata": None,
        "extension": ".png",
    }
    metadata = NewFile.of(orjson.dumps(known), METADATA_NAME)
    return value_of(picture, metadata), [picture, metadata]
