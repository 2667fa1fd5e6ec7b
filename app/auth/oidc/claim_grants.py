"""Grants from the claims of a token, by a setting.

The setting is a list of `CLAIM=VALUE ROLE PROJECTS`, separated by semicolons, such as
`groups=ml writer acme/*; email_verified=true reader demo/assistant`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import BadInputError
from stores.security.access import Grant, Role

ANY: Final = "*"
"""Value of a grant that matches any claim but false, null and empty texts, lists and objects."""

_EMPTY: Final[tuple[object, ...]] = ("", "false", [], {})
"""Values of a claim that count as empty; some issuers write `"false"` for false."""

_WORDS: Final = 3


@dataclass(frozen=True, slots=True)
class ClaimGrant:
    """A grant to tokens whose claim equals a value, or contains it as a list; dots lead into claims that are objects.

    Booleans and numbers are written as in JSON: `true`, `3`.
    """

    claim: str
    value: str
    grant: Grant

    def matches(self, claims: Mapping[str, Any]) -> bool:
        """Return True if a token's claims match."""
        claim_value: object = claims
        for step in self.claim.split("."):
            claim_value = claim_value.get(step) if isinstance(claim_value, Mapping) else None
        values = claim_value.split() if self.claim == "scope" and isinstance(claim_value, str) else claim_value
        return any(map(self._matches_value, values if isinstance(values, list) else [values]))

    def _matches_value(self, value: object) -> bool:
        if self.value == ANY:
            return value is not None and value is not False and value not in _EMPTY
        return self.value == (json.dumps(value) if isinstance(value, bool | int | float) else value)


def parse_claim_grants(text: str) -> list[ClaimGrant]:
    """Parse the setting.

    Raises:
        ValueError: an entry is not `CLAIM=VALUE ROLE PROJECTS`.
    """
    return [_parse_entry(each.strip()) for each in text.split(";") if each.strip()]


def _parse_entry(text: str) -> ClaimGrant:
    parts = text.split()
    claim, equals, value = parts[0].partition("=")
    if len(parts) != _WORDS or not (claim and equals and value):
        raise ValueError(f"{text[:64]!r} is not CLAIM=VALUE ROLE PROJECTS, such as groups=ml writer acme/*")
    try:
        return ClaimGrant(claim, value, Grant.parse(parts[2], Role.parse(parts[1])))
    except BadInputError as error:
        raise ValueError(error.message) from None
