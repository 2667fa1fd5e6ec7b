"""Names of feedback fields: `feedback.[<type>].<field>`, with `*` for any type.

The brackets protect the dots in types. The field is a feedback column or a path into the payload. Without a field, the
name means the whole payload, which every feedback has. A backslash escapes `]`, `*` or itself within a type.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import BadInputError
from stores.feedback.fields import FEEDBACK_FIELDS
from stores.input_checks import MAX_NAME
from stores.query.fields import MAX_PATH_LENGTH, Access, FieldTable

PREFIX: Final = "feedback."
_ANY_TYPE: Final = "*"
_PAYLOAD: Final = "payload"
_MAX_NAME: Final = 2 * MAX_NAME + MAX_PATH_LENGTH
"""Characters of a field name: a type with every character escaped, plus a path."""

_NAME: Final = re.compile(r"feedback\.\[((?:[^\]\\]|\\.)*)\](?:\.(.*))?", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\([\]*\\])")
_FORM: Final = (
    "write feedback.[type].payload.path or feedback.[type].column, with the type in brackets, such as "
    "feedback.[wandb.reaction.1].payload.emoji, and [*] for any type"
)


@dataclass(frozen=True)
class FeedbackAccess(Access):
    """A field of the feedback on a call; `feedback_type` None means any type."""

    feedback_type: str | None = None

    @property
    def is_text(self) -> bool:
        """False: a missing feedback field equals an empty text, but its conversion to string does not."""
        return False

    @property
    def type_match(self) -> dict[str, Any]:
        """The match of feedback of this type."""
        return type_match(self.feedback_type)


def type_match(feedback_type: str | None) -> dict[str, Any]:
    """Return the match of feedback of a type; all feedback if it is None."""
    return {} if feedback_type is None else {"feedback_type": {"$eq": feedback_type}}


class FeedbackFieldTable(FieldTable):
    """The fields of another table plus feedback fields."""

    def __init__(self, table: FieldTable) -> None:
        super().__init__(())
        self._table = table

    def __getitem__(self, name: str) -> Access:
        """Return the access of a field name.

        Raises:
            BadInputError: if no such field exists; the message explains the valid names.
        """
        return _feedback_access(name) if name.startswith(PREFIX) else self._table[name]


def _feedback_access(name: str) -> FeedbackAccess:
    if len(name) > _MAX_NAME:
        raise BadInputError(f"the field name has {len(name):,} characters; the limit is {_MAX_NAME:,}")
    parsed = _NAME.fullmatch(name)
    if not parsed:
        raise BadInputError(f"there is no field {name[:100]!r}; {_FORM}")
    type_text, field = parsed.groups()
    feedback_type = None if type_text == _ANY_TYPE else _ESCAPED.sub(r"\1", type_text)
    try:
        access = FEEDBACK_FIELDS[_PAYLOAD if field is None else field]
    except BadInputError as error:
        raise BadInputError(f"in feedback {error.message}") from None
    return FeedbackAccess(access.field, access.steps, feedback_type)
