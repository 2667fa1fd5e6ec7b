"""What writers send of an object: one version of it, held to its rules."""

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

    A value of a built-in class is checked and completed; `set_base_object_class` is that class's old name.
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
    """Whether it takes so long to make its document that a thread does that."""

    @property
    def is_builtin(self) -> bool:
        """Whether the value is to be checked and completed."""
        return bool(self.builtin_object_class or self.set_base_object_class)

    def checked(self) -> "ObjectVersion":
        """Itself, with what follows from the value: its kind unless that was given, and its classes.

        Raises:
            BadInputError: a field breaks its rule, or the value those of its class; the error names the place.
        """
        ids.check_project_id(self.project_id)
        check_object_id(self.object_id)
        check_length(self.wb_user_id, MAX_NAME, "wb_user_id")
        self.val = self._completed()
        self.kind = self.kind or kind_of(self.val)
        self.classes = classes_of(self.val)
        self.wb_user_id = self.wb_user_id or LOCAL_USER
        return self

    def _completed(self) -> object:
        given = dict.fromkeys(name for name in (self.builtin_object_class, self.set_base_object_class) if name)
        if not given:
            return self.val
        if len(given) > 1:
            raise BadInputError("differs from builtinObjectClass; leave it out", "set_base_object_class")
        argument = "builtin_object_class" if self.builtin_object_class else "set_base_object_class"
        [name] = given
        return builtin.completed(self.val, name, argument)


def check_object_id(object_id: str, argument: str = "object_id") -> None:
    """Hold an object's name to its rule.

    Raises:
        BadInputError: it is empty, too long, or holds anything but letters, digits, `.`, `_` and `-`.
    """
    if not _OBJECT_ID.fullmatch(object_id):
        raise BadInputError(
            f"{object_id[:64]!r} cannot name an object; use 1 to {MAX_OBJECT_ID} letters, digits, dots, underscores "
            "and hyphens",
            argument,
        )
