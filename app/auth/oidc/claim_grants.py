"""What the claims of a token come to: grants, as a setting says.

The setting is a list of `CLAIM=VALUE ROLE PROJECTS` with semicolons between, such as
`groups=ml writer acme/*; email_verified=true reader demo/assistant`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import BadInputError
from stores.security.access import Grant, Role

ANY: Final = "*"
"""The value that any token has of a claim that says something: not false, null, nor an empty text, list or object."""

_SAYS_NOTHING: Final[tuple[object, ...]] = ("", "false", [], {})
"""Some issuers write `"false"` for false."""

_PARTS: Final = 3


@dataclass(frozen=True, slots=True)
class ClaimGrant:
    """A grant to those whose claim has a value, or one among others; dots lead into claims that are objects.

    Booleans and numbers are what JSON writes for them: `true`, `3`.
    """

    claim: str
    value: str
    grant: Grant

    def holds_for(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token has it."""
        found: object = claims
        for step in self.claim.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
        values = found.split() if self.claim == "scope" and isinstance(found, str) else found
        return any(map(self._is, values if isinstance(values, list) else [values]))

    def _is(self, value: object) -> bool:
        if self.value == ANY:
            return value is not None and value is not False and value not in _SAYS_NOTHING
        return self.value == (json.dumps(value) if isinstance(value, bool | int | float) else value)


def parse_claim_grants(text: str) -> list[ClaimGrant]:
    """The grants of a setting.

    Raises:
        ValueError: it is not written so.
    """
    return [_parsed(each.strip()) for each in text.split(";") if each.strip()]


def _parsed(text: str) -> ClaimGrant:
    parts = text.split()
    claim, equals, value = parts[0].partition("=")
    if len(parts) != _PARTS or not (claim and equals and value):
        raise ValueError(f"{text[:64]!r} is not CLAIM=VALUE ROLE PROJECTS, such as groups=ml writer acme/*")
    try:
        return ClaimGrant(claim, value, Grant.parse(parts[2], Role.parse(parts[1])))
    except BadInputError as error:
        raise ValueError(error.message) from None
