r"""Names of fields of the feedback on a call: `feedback.[<type>].<field>`, with `*` for any type.

The brackets are for the dots of types. The field is a column of feedback or a path into its payload; without one it is
the payload as a whole, which no feedback lacks. A backslash before `]`, `*` or itself makes it one of the type's own.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from stores.errors import BadInputError
from stores.feedback.fields import FEEDBACK_FIELDS
from stores.input_checks import MAX_NAME
from stores.query.fields import MAX_PATH, Access, FieldTable

PREFIX: Final = "feedback."
_ANY: Final = "*"
_PAYLOAD: Final = "payload"
_MAX_NAME: Final = 2 * MAX_NAME + MAX_PATH
"""A type may have as many characters as any name, each behind a backslash, with a path behind it."""

_NAME: Final = re.compile(r"feedback\.\[((?:[^\]\\]|\\.)*)\](?:\.(.*))?", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\([\]*\\])")
_FORM: Final = (
    "write feedback.[type].payload.path or feedback.[type].column, with the type in brackets, such as "
    "feedback.[wandb.reaction.1].payload.emoji, and [*] for any type"
)


@dataclass(frozen=True)
class FeedbackAccess(Access):
    """A place in the feedback of a type on a call; of any type where that is None."""

    feedback_type: str | None = None

    @property
    def is_text(self) -> bool:
        """False: a missing field of feedback equals an empty text, but its conversion to string does not."""
        return False

    @property
    def of_type(self) -> dict[str, Any]:
        """The match of the feedback of the type."""
        return match_of_type(self.feedback_type)


def match_of_type(feedback_type: str | None) -> dict[str, Any]:
    """The match of the feedback of a type; of all, if it is None."""
    return {} if feedback_type is None else {"feedback_type": {"$eq": feedback_type}}


class FeedbackNames(FieldTable):
    """The fields of another table, and those of the feedback on its documents."""

    def __init__(self, others: FieldTable) -> None:
        super().__init__(())
        self._others = others

    def __getitem__(self, name: str) -> Access:
        """The field of that name, or the place in the feedback.

        Raises:
            BadInputError: there is none; the message says which there are.
        """
        return _feedback_access(name) if name.startswith(PREFIX) else self._others[name]


def _feedback_access(name: str) -> FeedbackAccess:
    if len(name) > _MAX_NAME:
        raise BadInputError(f"a name of {len(name):,} characters; the limit is {_MAX_NAME:,}")
    parsed = _NAME.fullmatch(name)
    if not parsed:
        raise BadInputError(f"there is no field {name[:100]!r}; {_FORM}")
    written, field = parsed.groups()
    feedback_type = None if written == _ANY else _ESCAPED.sub(r"\1", written)
    try:
        access = FEEDBACK_FIELDS[_PAYLOAD if field is None else field]
    except BadInputError as error:
        raise BadInputError(f"of feedback {error.message}") from None
    return FeedbackAccess(access.field, access.steps, feedback_type)
