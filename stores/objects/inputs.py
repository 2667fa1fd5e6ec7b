"""Inputs for creating object versions, validated."""

import re
from dataclasses import dataclass
from typing import Final

from stores import ids
from stores.errors import BadInputError
from stores.ids import LOCAL_USER
from stores.input_checks import MAX_NAME, check_length
from stores.objects import builtin
from stores.objects.classes import Classes, Kind, classes_of, kind_of

MAX_OBJECT_ID: Final = 128

_OBJECT_ID: Final = re.compile(rf"[\w.\-]{{1,{MAX_OBJECT_ID}}}")


@dataclass(slots=True)
class ObjectVersion:
    """A version of an object: its name, and any JSON value.

    A value of a builtin class is validated and completed. `set_base_object_class` is the old name of that argument.
    """

    project_id: str
    object_id: str
    val: object
    builtin_object_class: str | None = None
    set_base_object_class: str | None = None
    wb_user_id: str | None = None
    kind: Kind | None = None
    classes: Classes | None = None
    is_large: bool = False
    """True if the document should be built in a thread."""

    @property
    def is_builtin(self) -> bool:
        """True if the value is validated as a builtin class."""
        return bool(self.builtin_object_class or self.set_base_object_class)

    def checked(self) -> "ObjectVersion":
        """Validate in place; set the value's classes, and its kind unless set.

        Raises:
            BadInputError: a field is invalid, or the value is invalid for its class; the error names the path.
        """
        ids.check_project_id(self.project_id)
        check_object_id(self.object_id)
        check_length(self.wb_user_id, MAX_NAME, "wb_user_id")
        self.val = self._completed_value()
        self.kind = self.kind or kind_of(self.val)
        self.classes = classes_of(self.val)
        self.wb_user_id = self.wb_user_id or LOCAL_USER
        return self

    def _completed_value(self) -> object:
        class_names = dict.fromkeys(name for name in (self.builtin_object_class, self.set_base_object_class) if name)
        if not class_names:
            return self.val
        if len(class_names) > 1:
            raise BadInputError("differs from builtinObjectClass; leave it out", "set_base_object_class")
        argument = "builtin_object_class" if self.builtin_object_class else "set_base_object_class"
        [name] = class_names
        return builtin.completed(self.val, name, argument)


def check_object_id(object_id: str, argument: str = "object_id") -> None:
    """Check an object name.

    Raises:
        BadInputError: it is empty, too long, or has characters other than letters, digits, `.`, `_` and `-`.
    """
    if not _OBJECT_ID.fullmatch(object_id):
        raise BadInputError(
            f"{object_id[:64]!r} is not a valid object name; use 1 to {MAX_OBJECT_ID} letters, digits, dots, "
            "underscores and hyphens",
            argument,
        )
