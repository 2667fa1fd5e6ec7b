"""Import of exported rows: their fields, checked for type."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from stores import times
from stores.errors import BadInputError
from stores.refs import SCHEME

_INT64: Final = 1 << 63

_Value = TypeVar("_Value")


class ImportedRow:
    """The fields of one imported row, for its original project or for another one.

    JSON stays unchanged in either case, so that digests stay valid, and refs in it keep their targets. A ref in a field
    of its own moves to the new project if it led into the row's own project.
    """

    def __init__(self, row: Mapping[str, Any], project_id: str | None = None) -> None:
        self._row = row
        self._project_id = project_id

    def value(self, name: str) -> Any:  # noqa: ANN401 -- any JSON
        """Return the raw value of a field; None if missing."""
        return self._row.get(name)

    def text(self, name: str) -> str | None:
        """Return a text field; None if missing.

        Raises:
            BadInputError: if the value is not a string.
        """
        value = self._project_id if name == "project_id" and self._project_id else self._row.get(name)
        if value is not None and not isinstance(value, str):
            raise BadInputError("must be a string", name)
        return value

    def required_text(self, name: str) -> str:
        """Return a required text field.

        Raises:
            BadInputError: if it is missing or not a string.
        """
        return _required(self.text(name), name)

    def own_ref(self, name: str, *, optional: bool = False) -> str | None:
        """Return a text field; a ref into the row's own project is moved to the target project.

        Raises:
            BadInputError: if it is missing but required, or not a string.
        """
        text = self.text(name) if optional else self.required_text(name)
        own = f"{SCHEME}{self._row.get('project_id')}/"
        if text is None or self._project_id is None or not text.startswith(own):
            return text
        return f"{SCHEME}{self._project_id}/{text.removeprefix(own)}"

    def integer(self, name: str) -> int | None:
        """Return a 64-bit integer field; None if missing.

        Raises:
            BadInputError: if the value is not such an integer.
        """
        value = self._row.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not -_INT64 <= value < _INT64:
            raise BadInputError("must be an integer between -2^63 and 2^63 - 1", name)
        return value

    def required_index(self, name: str) -> int:
        """Return a required integer field from 0.

        Raises:
            BadInputError: if it is missing, negative or not an integer.
        """
        value = _required(self.integer(name), name)
        if value < 0:
            raise BadInputError(f"{value} is negative; send 0 or more", name)
        return value

    def time(self, name: str) -> int | None:
        """Return a time field in microseconds since the epoch; None if missing.

        Raises:
            BadInputError: if the value is not an ISO 8601 text.
        """
        text = self.text(name)
        try:
            return None if text is None else times.parse(text)
        except BadInputError as error:
            raise error.prefixed(name) from None

    def required_time(self, name: str) -> int:
        """Return a required time field in microseconds since the epoch.

        Raises:
            BadInputError: if it is missing or not an ISO 8601 text.
        """
        return _required(self.time(name), name)


def _required(value: _Value | None, name: str) -> _Value:
    if value is None:
        raise BadInputError("is required", name)
    return value
