"""Imports: the fields of rows that were exported, here or elsewhere, read with the types that they must have."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from stores import times
from stores.errors import BadInputError
from stores.refs import SCHEME

_INT64: Final = 1 << 63

_Value = TypeVar("_Value")


class ImportedRow:
    """The fields of one row, on its way into its own project or into another.

    JSON stays as it is in either, so that digests do: refs in it lead where they led. A ref that is a field by itself
    leads into the other project if it led into the row's own.
    """

    def __init__(self, row: Mapping[str, Any], project_id: str | None = None) -> None:
        self._row = row
        self._project_id = project_id

    def value(self, name: str) -> Any:  # noqa: ANN401 -- any JSON
        """What the row has there, None where it has nothing."""
        return self._row.get(name)

    def text(self, name: str) -> str | None:
        """A text, if there is one.

        Raises:
            BadInputError: it is another kind of value.
        """
        value = self._project_id if name == "project_id" and self._project_id else self._row.get(name)
        if value is not None and not isinstance(value, str):
            raise BadInputError("must be a string", name)
        return value

    def required_text(self, name: str) -> str:
        """A text that must be there.

        Raises:
            BadInputError: it is not, or is another kind of value.
        """
        return _required(self.text(name), name)

    def own_ref(self, name: str, *, optional: bool = False) -> str | None:
        """A text that may be a ref; one into the row's own project leads into the one that the row goes into.

        Raises:
            BadInputError: it is not there and must be, or is another kind of value.
        """
        text = self.text(name) if optional else self.required_text(name)
        own = f"{SCHEME}{self._row.get('project_id')}/"
        if text is None or self._project_id is None or not text.startswith(own):
            return text
        return f"{SCHEME}{self._project_id}/{text.removeprefix(own)}"

    def integer(self, name: str) -> int | None:
        """An integer of 64 bits, if there is one.

        Raises:
            BadInputError: it is another kind of value.
        """
        value = self._row.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not -_INT64 <= value < _INT64:
            raise BadInputError("must be an integer between -2^63 and 2^63 - 1", name)
        return value

    def required_index(self, name: str) -> int:
        """An integer from 0 that must be there.

        Raises:
            BadInputError: it is not, is negative, or is another kind of value.
        """
        value = _required(self.integer(name), name)
        if value < 0:
            raise BadInputError(f"{value} is negative; it counts from 0", name)
        return value

    def time(self, name: str) -> int | None:
        """A time, in microseconds since the epoch, if there is one.

        Raises:
            BadInputError: it is no ISO 8601 text.
        """
        text = self.text(name)
        try:
            return None if text is None else times.parse(text)
        except BadInputError as error:
            raise error.prefixed(name) from None

    def required_time(self, name: str) -> int:
        """A time that must be there.

        Raises:
            BadInputError: it is not, or is no ISO 8601 text.
        """
        return _required(self.time(name), name)


def _required(value: _Value | None, name: str) -> _Value:
    if value is None:
        raise BadInputError("is required", name)
    return value
