"""Tables of fields: which names a collection's clients may use, and where each is stored."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from stores.errors import BadInputError

_NEAR_NAMES: Final = 3


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name for clients, its path in the document, and whether a document may lack it.

    A `coarse` field has an index of its own in which a great many documents share each value.
    """

    name: str
    path: str
    optional: bool = True
    coarse: bool = False


class FieldTable:
    """The fields of one collection, by name; a name in camelCase finds the field, too."""

    def __init__(self, fields: Iterable[Field]) -> None:
        self._by_name = {field.name: field for field in fields}
        self._by_camel = {_camel(name): field for name, field in self._by_name.items()}

    def __getitem__(self, name: str) -> Field:
        """The field of that name.

        Raises:
            BadInputError: there is none; the message lists near names.
        """
        field = self._by_name.get(name) or self._by_camel.get(name)
        if field is None:
            raise BadInputError(f"there is no field {name[:100]!r}; {self._near(name)}")
        return field

    def _near(self, name: str) -> str:
        near = difflib.get_close_matches(name[:100], self._by_name, _NEAR_NAMES)
        return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(self._by_name)}"


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
