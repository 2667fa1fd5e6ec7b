"""Reactions: one emoji, told what it is called, and what it is without its skin tone."""

import re
from typing import Any, Final

import emoji

from stores.errors import BadInputError

MAX_REACTION: Final = 1024

_SKIN_TONES: Final = re.compile("[\U0001f3fb-\U0001f3ff]")


def completed(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload of a reaction with `alias`, `detoned` and `detoned_alias` of its `emoji`; other keys stay.

    An emoji may be of many characters, as flags, families and skin tones are; text beside it does no harm.

    Raises:
        BadInputError: there is not just one emoji.
    """
    text = payload.get("emoji")
    if not isinstance(text, str):
        raise BadInputError("is required: a string that holds one emoji", "payload.$.emoji")
    if len(text) > MAX_REACTION:
        raise BadInputError(f"has {len(text):,} characters; the limit is {MAX_REACTION:,}", "payload.$.emoji")
    count = sum(1 for _ in emoji.analyze(text, join_emoji=True))
    if count != 1:
        raise BadInputError(f"holds {count} emoji; send exactly one", "payload.$.emoji")
    detoned = _SKIN_TONES.sub("", text) or text
    return payload | {"alias": emoji.demojize(text), "detoned": detoned, "detoned_alias": emoji.demojize(detoned)}
