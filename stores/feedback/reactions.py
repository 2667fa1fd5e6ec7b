"""Reactions: one emoji, with its alias and its form without skin tone."""

import re
from typing import Any, Final

import emoji

from stores.errors import BadInputError

MAX_REACTION: Final = 1024

_SKIN_TONES: Final = re.compile("[\U0001f3fb-\U0001f3ff]")


def completed(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload with `alias`, `detoned` and `detoned_alias` of its `emoji`; other keys stay.

    One emoji may be several characters, such as a flag, a family or a skin tone. Surrounding text is allowed.

    Raises:
        BadInputError: there is not exactly one emoji.
    """
    text = payload.get("emoji")
    if not isinstance(text, str):
        raise BadInputError("is required: a string with one emoji", "payload.$.emoji")
    if len(text) > MAX_REACTION:
        raise BadInputError(f"has {len(text):,} characters; the limit is {MAX_REACTION:,}", "payload.$.emoji")
    count = sum(1 for _ in emoji.analyze(text, join_emoji=True))
    if count != 1:
        raise BadInputError(f"has {count} emoji; send exactly one", "payload.$.emoji")
    detoned = _SKIN_TONES.sub("", text) or text
    return payload | {"alias": emoji.demojize(text), "detoned": detoned, "detoned_alias": emoji.demojize(detoned)}
