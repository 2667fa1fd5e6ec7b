"""The JSON of a call's start or end, made ready for its document once: text, mirror, refs, size."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from bson import encode as bson_encode

from stores import refs
from stores.calls.data_urls import extract_data_urls, may_hold_data_urls
from stores.errors import PayloadTooLargeError, StoreError
from stores.files import NewFile
from stores.json import codec
from stores.json.bson_copy import to_bson
from stores.json.inspection import JsonTraits, traits_of

MAX_BYTES: Final = 7_700_000
"""What a start's or an end's payload may take in BSON: both fit into a document of 16 MiB, with what else is in it."""

MAX_GROWTH: Final = 21
"""Text, mirror, refs and usage together take at most this many times the text: models without counts come closest."""

AT_ONCE: Final = 256 * 1024
"""Characters of a value's text; what is longer, or odd, takes so long to make ready that a thread does it."""

_IN_ALL_SCHEMES: Final = ":///"
_SCHEMES: Final = tuple(f'"{scheme}' for scheme in (refs.SCHEME, refs.ARTIFACT_SCHEME, refs.INTERNAL_SCHEME))


class TakesLongError(Exception):
    """A value is not soon made ready."""


@dataclass(slots=True)
class Payload:
    """JSON values by name, as they are kept: their texts, mirrors, refs, size as text, and the files taken out."""

    values: dict[str, object]
    texts: dict[str, str]
    mirrors: dict[str, object]
    refs: dict[str, list[str]]
    size_bytes: int
    files: list[NewFile]

    @classmethod
    def of(
        cls,
        values: dict[str, object],
        with_files: Iterable[str] = (),
        beside: dict[str, object] | None = None,
        shapes: dict[str, JsonTraits] | None = None,
    ) -> Self:
        """The payload of some values; from those `with_files` long data URLs are taken out, to be files.

        The shapes of values, where the caller knows them, spare a walk through those.

        Raises:
            PayloadTooLargeError: they take more than `MAX_BYTES` in BSON, their texts and what is kept beside included.
            BadInputError: they go beyond `json_bounds`, or a string in them uses the reserved scheme of refs.
        """
        payload = cls({}, {}, {}, {}, 0, [])
        for name, value in values.items():
            payload.add(name, value, _text(name, value), (shapes or {}).get(name), with_files=name in with_files)
        payload.check_size(beside)
        return payload

    @classmethod
    def unchecked(cls, values: dict[str, object], with_files: Iterable[str], *, at_once: bool) -> Self:
        """The same, its size not yet held to the limit.

        Raises:
            TakesLongError: it should be `at_once`, and cannot.
            BadInputError: as by `of`.
        """
        payload = cls({}, {}, {}, {}, 0, [])
        for name, value in values.items():
            text = codec.encode_plain(value) if at_once else _text(name, value)
            if text is None or (at_once and len(text) > AT_ONCE):
                raise TakesLongError
            payload.add(name, value, text, None, with_files=name in with_files)
        return payload

    def check_size(self, beside: dict[str, object] | None = None) -> None:
        """Hold it to the limit, with what is kept beside it.

        Raises:
            PayloadTooLargeError: it takes more than `MAX_BYTES` in BSON.
        """
        _check_size(self.texts, self.mirrors, {"refs": self.refs, **(beside or {})})

    def add(self, name: str, value: object, text: str, shape: JsonTraits | None, *, with_files: bool) -> None:
        """Put a value in, with its text; its size is not held to the limit here."""
        if with_files and may_hold_data_urls(text):
            value, taken = extract_data_urls(value)
            text, shape = _text(name, value), None
            self.files += taken
        shape = shape or traits_of(value)
        self.values[name] = value
        self.texts[name] = text
        self.mirrors[name] = to_bson(value, shape)
        self.refs[name] = _refs(name, value, text) if _IN_ALL_SCHEMES in text else []
        self.size_bytes += shape.default_length(value, text)


def _text(name: str, value: object) -> str:
    try:
        return codec.encode(value)
    except StoreError as error:
        raise error.prefixed(name) from None


def _check_size(texts: dict[str, str], mirrors: dict[str, object], beside: dict[str, object]) -> None:
    length = sum(map(len, texts.values()))
    if length * MAX_GROWTH <= MAX_BYTES:
        return
    # What is too large by its texts alone would be encoded in one go, which lets no other thread in.
    size = length if length > MAX_BYTES else len(bson_encode({**mirrors, "json": texts, **beside}))
    if size > MAX_BYTES:
        number = f"{size:,}" if size > length else f"more than {length:,}"
        raise PayloadTooLargeError(
            f"{' and '.join(texts)} take {number} bytes as stored (text, refs and what queries look into); the limit "
            f"is {MAX_BYTES:,}. Keep large content elsewhere and send a reference to it",
            max(texts, key=lambda name: len(texts[name])),
        )


def _refs(name: str, value: object, text: str) -> list[str]:
    if not any(scheme in text for scheme in _SCHEMES):
        return []
    try:
        return refs.collect(value)
    except StoreError as error:
        raise error.prefixed(name) from None
