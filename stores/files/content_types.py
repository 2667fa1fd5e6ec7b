"""Content types of files, detected from their first bytes and limited to types that browsers display safely."""

import codecs
import re
from typing import Final

UNKNOWN: Final = "application/octet-stream"
TEXT: Final = "text/plain; charset=utf-8"
SNIFFED_BYTES: Final = 512

_SIGNATURES: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "image/avif"),
    (re.compile(rb"RIFF....WAVE", re.DOTALL), "audio/wav"),
    (re.compile(rb"ID3|\xff[\xfb\xf3\xf2]"), "audio/mpeg"),
    (re.compile(rb"fLaC"), "audio/flac"),
    (re.compile(rb"OggS"), "audio/ogg"),
    (re.compile(rb"....ftyp(?:isom|iso[2-6]|mp4[12]|avc1|M4V )", re.DOTALL), "video/mp4"),
    (re.compile(rb"....ftypM4A ", re.DOTALL), "audio/mp4"),
    (re.compile(rb"\x1aE\xdf\xa3.{0,60}webm", re.DOTALL), "video/webm"),
    (re.compile(rb"%PDF-"), "application/pdf"),
)
_NOT_IN_TEXTS: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_MARKUP: Final = re.compile(r"[\s\ufeff]*<")


def content_type(beginning: bytes) -> str:
    """Detect the media type of a file from its start: some types of image, audio, video, PDF and text; else unknown.

    Possible markup (HTML, SVG, XML) is reported as unknown, because a browser would run scripts in it.
    """
    for signature, kind in _SIGNATURES:
        if signature.match(beginning):
            return kind
    return TEXT if _is_text(beginning[:SNIFFED_BYTES]) else UNKNOWN


def _is_text(sample: bytes) -> bool:
    if not sample or _NOT_IN_TEXTS.search(sample):
        return False
    try:
        # The sample may end in the middle of a character.
        text = codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return not _MARKUP.match(text)
