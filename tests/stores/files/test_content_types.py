"""Tests of the content type that a file's first bytes determine."""

import pytest

from stores.files.uploads import TEXT, UNKNOWN, content_type


@pytest.mark.parametrize(
    ("beginning", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\x10\n\0\0WAVEfmt ", "audio/wav"),
        (b"ID3\x04\0", "audio/mpeg"),
        (b"fLaC\0", "audio/flac"),
        (b"OggS\0", "audio/ogg"),
        (b"\0\0\0\x20ftypisom\0\0", "video/mp4"),
        (b"\0\0\0\x20ftypM4A \0\0", "audio/mp4"),
        (b"\0\0\0\x1cftypavif", "image/avif"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\x82\x84webm", "video/webm"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b'{"a": 1}\n', TEXT),
        ("Grüße, мир 🔑".encode(), TEXT),
        (("ü" * 300).encode()[1:][:511], UNKNOWN),
        (("a" + "ü" * 300).encode(), TEXT),
        (b"", UNKNOWN),
        (b"\0binary", UNKNOWN),
        (b"\xff\xfeh\0i\0", UNKNOWN),
        (b"PK\x03\x04", UNKNOWN),
    ],
)
def test_content_type_of_a_file(beginning: bytes, kind: str) -> None:
    assert content_type(beginning) == kind


@pytest.mark.parametrize(
    "beginning",
    [
        b"<!doctype html><script>alert(1)</script>",
        b"  \n\t<html>",
        b"\xef\xbb\xbf<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'>",
        b"<?xml version='1.0'?>",
    ],
)
def test_markup_gets_a_content_type_that_browsers_do_not_render(beginning: bytes) -> None:
    assert content_type(beginning) == UNKNOWN
