"""Messages of call rows, read from their JSON texts."""

import asyncio
from collections.abc import Callable
from typing import Final

from stores.json import AnyJson, codec
from stores.paging import Row
from stores.senders.messages import Message, input_messages, output_messages

_MAX_DIRECT_CHARACTERS: Final = 64 * 1024
"""Characters of JSON that are read on the event loop, in about a millisecond; more are read in a thread."""

Read = Callable[[Row], list[Message]]


def inputs_of(row: Row) -> list[Message]:
    """Return the messages of a call's inputs."""
    return input_messages(_span_of(row), _value(row, "inputs"))


def outputs_of(row: Row) -> list[Message]:
    """Return the messages of a call's output."""
    return output_messages(_span_of(row), _value(row, "output"))


async def read_messages(row: Row, read: Read) -> list[Message]:
    """Read messages of a call; those of large texts in a thread."""
    texts = row.get("json") or {}
    characters = sum(len(text) for text in texts.values() if isinstance(text, str))
    return read(row) if characters <= _MAX_DIRECT_CHARACTERS else await asyncio.to_thread(read, row)


def _value(row: Row, name: str) -> AnyJson:
    # Not by `JsonField`, which would keep the parsed values of all rows of a page until its end.
    text = (row.get("json") or {}).get(name)
    return None if text is None else codec.loads(text.encode())


def _span_of(row: Row) -> AnyJson:
    """Return the attributes of a call that was a span; the rules for messages read no others."""
    text = (row.get("json") or {}).get("attributes", "")
    return codec.loads(text.encode()) if '"otel_span"' in text else None
