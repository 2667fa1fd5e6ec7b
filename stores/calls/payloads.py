"""The JSON of a call's start or end, prepared for storage: text, BSON copy, refs and size."""

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
"""BSON bytes of one start's or end's payload; both fit into MongoDB's 16 MiB with the rest of the document."""

MAX_GROWTH: Final = 21
"""Factor by which text, BSON copy, refs and usage together may exceed the text; models without counts come closest."""

MAX_FAST_LENGTH: Final = 256 * 1024
"""Characters of a value that may be prepared on the event loop; longer or odd values need a thread."""

_COMMON_TO_SCHEMES: Final = ":///"
_SCHEMES: Final = tuple(f'"{scheme}' for scheme in (refs.SCHEME, refs.ARTIFACT_SCHEME, refs.INTERNAL_SCHEME))


class TakesLongError(Exception):
    """A value takes too long to prepare on the event loop."""


@dataclass(slots=True)
class Payload:
    """JSON values by name in their stored forms: texts, BSON copies, refs, text size, and extracted files."""

    values: dict[str, object]
    texts: dict[str, str]
    bson_copies: dict[str, object]
    refs: dict[str, list[str]]
    size_bytes: int
    files: list[NewFile]

    @classmethod
    def from_values(
        cls,
        values: dict[str, object],
        with_files: Iterable[str] = (),
        other_fields: dict[str, object] | None = None,
        traits: dict[str, JsonTraits] | None = None,
    ) -> Self:
        """Prepare values for storage; long data URLs in the values of `with_files` become files.

        Args:
            values: JSON values by name.
            with_files: names of the values whose data URLs are extracted.
            other_fields: further stored fields that count towards the size limit.
            traits: known traits of values, which save a traversal.

        Raises:
            PayloadTooLargeError: if texts, BSON copies, refs and `other_fields` exceed `MAX_BYTES` in BSON.
            BadInputError: if a value exceeds `stores.json.limits`, or if a string uses the reserved ref scheme.
        """
        payload = cls({}, {}, {}, {}, 0, [])
        for name, value in values.items():
            payload.add(name, value, _text(name, value), (traits or {}).get(name), with_files=name in with_files)
        payload.check_size(other_fields)
        return payload

    @classmethod
    def unchecked(cls, values: dict[str, object], with_files: Iterable[str], *, fast_only: bool) -> Self:
        """Prepare values for storage without a check of their size.

        Raises:
            TakesLongError: if `fast_only`, and a value takes long to prepare.
            BadInputError: see `from_values`.
        """
        payload = cls({}, {}, {}, {}, 0, [])
        for name, value in values.items():
            text = codec.encode_plain(value) if fast_only else _text(name, value)
            if text is None or (fast_only and len(text) > MAX_FAST_LENGTH):
                raise TakesLongError
            payload.add(name, value, text, None, with_files=name in with_files)
        return payload

    def check_size(self, other_fields: dict[str, object] | None = None) -> None:
        """Check the size in BSON, including further stored fields.

        Raises:
            PayloadTooLargeError: if it exceeds `MAX_BYTES`.
        """
        _check_size(self.texts, self.bson_copies, {"refs": self.refs, **(other_fields or {})})

    def add(self, name: str, value: object, text: str, traits: JsonTraits | None, *, with_files: bool) -> None:
        """Add a value with its text; its size is not checked."""
        if with_files and may_hold_data_urls(text):
            value, extracted = extract_data_urls(value)
            text, traits = _text(name, value), None
            self.files += extracted
        traits = traits or traits_of(value)
        self.values[name] = value
        self.texts[name] = text
        self.bson_copies[name] = to_bson(value, traits)
        self.refs[name] = _refs(name, value, text) if _COMMON_TO_SCHEMES in text else []
        self.size_bytes += traits.default_length(value, text)


def _text(name: str, value: object) -> str:
    try:
        return codec.encode(value)
    except StoreError as error:
        raise error.prefixed(name) from None


def _check_size(texts: dict[str, str], bson_copies: dict[str, object], other_fields: dict[str, object]) -> None:
    length = sum(map(len, texts.values()))
    if length * MAX_GROWTH <= MAX_BYTES:
        return
    # If the texts alone exceed the limit, skip the encoding, which blocks all threads.
    size = length if length > MAX_BYTES else len(bson_encode({**bson_copies, "json": texts, **other_fields}))
    if size > MAX_BYTES:
        number = f"{size:,}" if size > length else f"more than {length:,}"
        raise PayloadTooLargeError(
            f"{' and '.join(texts)} take {number} bytes as stored (text, refs and the copy for queries); the limit "
            f"is {MAX_BYTES:,}; store large content elsewhere and send a reference",
            max(texts, key=lambda name: len(texts[name])),
        )


def _refs(name: str, value: object, text: str) -> list[str]:
    if not any(scheme in text for scheme in _SCHEMES):
        return []
    try:
        return refs.collect(value)
    except StoreError as error:
        raise error.prefixed(name) from None
