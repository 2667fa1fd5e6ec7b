"""Request bodies of the Weave SDK: JSON with any Content-Type, kept in memory once, and parsed in time slices."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from app.auth.permissions import ACCESS, RouteAccess, access_of
from app.http.errors import HttpError
from app.http.request_body import BodyRules, is_encoded, read_body
from stores.concurrency.quotas import Reservation
from stores.errors import BadInputError, ForbiddenError, PayloadTooLargeError
from stores.json import AnyJson, incremental

LARGE: Final = 4 * incremental.SMALL
_SHOWN: Final = 5
"""Number of invalid fields that one error names."""

_RETRY_ID: Final = "x-weave-retry-id"

_Model = TypeVar("_Model", bound=BaseModel)


class InvalidRequestError(HttpError, BadInputError):
    """A required field of the request is missing or has the wrong type."""

    status = 422


@dataclass
class Body:
    """The body of a request, and what its URL and headers say."""

    text: bytearray
    access: RouteAccess
    reservation: Reservation
    path: dict[str, Any] = field(default_factory=dict)
    retry_id: str | None = None
    """Id that all retries of a request share; None if the client sends none."""

    @property
    def is_large(self) -> bool:
        """True if the body is so large that a thread should process it."""
        return len(self.text) > LARGE

    @property
    def project_id(self) -> str | None:
        """The project in the URL; None if the URL has none."""
        return f"{self.path['entity']}/{self.path['project']}" if self.path else None

    async def read(self, model: type[_Model]) -> _Model:
        """Validate the body as a model; unknown fields are ignored.

        Raises:
            InvalidRequestError: the body is not valid JSON, or a field is missing or has the wrong type.
        """
        return self.validated(model, await self._decoded())

    async def items(self, *path: str) -> "Items":
        """Return the list at a path of keys, without parsing the members of a large body.

        Raises:
            InvalidRequestError: the body is not valid JSON, or has no list at the path.
        """
        name = ".".join(path)
        found: AnyJson
        if not self.is_large:
            # One invalid member makes the whole body invalid; then the members are parsed one by one.
            with suppress(BadInputError):
                around = found = await incremental.loads_request(self.text, self.reservation.reserve)
                for key in path:
                    found = found.get(key) if isinstance(found, dict) else None
                if isinstance(found, list):
                    return Items(self, name, found, around)
        try:
            spans = await incremental.find_array(self.text, path)
            around = None if spans is None else await incremental.loads(spans.around, reserve=self.reservation.reserve)
        except BadInputError as error:
            raise InvalidRequestError(f"the body cannot be read: {error.message}") from None
        if spans is None:
            await self._decoded()
            raise InvalidRequestError("is required: a list", name)
        return Items(self, name, spans, around)

    async def _decoded(self) -> object:
        try:
            return await incremental.loads(self.text, incremental.MAX_VALUES, reserve=self.reservation.reserve)
        except BadInputError as error:
            raise InvalidRequestError(f"the body cannot be read: {error.message}") from None

    def validated(self, model: type[_Model], value: object, at: str = "") -> _Model:
        """Validate a value at the location `at` as a model.

        Raises:
            InvalidRequestError: a field is missing or has the wrong type.
            ForbiddenError: the caller lacks the role in the project that the value names.
        """
        try:
            return model.model_validate(value, context={ACCESS: self.access})
        except ValidationError as error:
            raise _invalid(error, at) from None
        except ForbiddenError as error:
            raise error.prefixed(at) if at else error from None


@dataclass(frozen=True)
class Items:
    """The members of a list, each parsed on demand, and the JSON around the list."""

    body: Body
    name: str
    members: incremental.ArraySpans | list[object]
    around: object = None

    def __len__(self) -> int:
        return len(self.members)

    def at(self, position: int) -> str:
        """Return the location of a member in the request, for error messages."""
        return f"{self.name}.{position}"

    def size(self, position: int) -> int:
        """Return the length of a member's text in bytes; 0 if the body was parsed as a whole."""
        return self.members.size(position) if isinstance(self.members, incremental.ArraySpans) else 0

    async def value(self, position: int, max_values: int = incremental.MAX_VALUES) -> object:
        """Parse and return a member.

        Raises:
            BadInputError: the member is not valid JSON.
            PayloadTooLargeError: it has more than `max_values` values.
            RateLimitedError: the caller has used its half of the memory.
            UnavailableError: the memory for request bodies is full.
        """
        if isinstance(self.members, list):
            return self.members[position]
        try:
            span = self.members.span(position)
            return await incremental.loads(self.members.text, max_values, span, self.body.reservation.reserve)
        except (BadInputError, PayloadTooLargeError) as error:
            raise error.prefixed(self.at(position)) from None

    async def read(self, position: int, model: type[_Model]) -> _Model:
        """Parse a member and validate it as a model; raises as `value` and `Body.validated`."""
        return self.body.validated(model, await self.value(position), self.at(position))

    def has(self, position: int, part: bytes) -> bool:
        """True if a member's text contains `part`; False if the body was parsed as a whole."""
        return (
            isinstance(self.members, incremental.ArraySpans)
            and self.members.text.find(part, *self.members.span(position)) >= 0
        )


def _invalid(error: ValidationError, at: str = "") -> InvalidRequestError:
    """Convert pydantic's validation error; its argument is the first invalid field.

    Args:
        error: the validation error.
        at: location of the validated value in the request.
    """
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    messages = [f"{_location(problem['loc'], at)}: {problem['msg']}" for problem in problems[:_SHOWN]]
    more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
    first = messages[0].partition(": ")
    return InvalidRequestError("; ".join([first[2], *messages[1:]]) + more, first[0])


def _location(steps: tuple[int | str, ...], at: str) -> str:
    return ".".join(map(str, (*([at] if at else ()), *steps))) or "the body"


async def read_sdk_body(request: Request, max_bytes: int, reservation: Reservation) -> Body:
    """Read the body of a request, and reserve its memory until the reservation is closed; raises as `read_body`."""
    if is_encoded(request.headers):
        raise InvalidRequestError("send the body without Content-Encoding; it is not decompressed")
    # The SDK reads an error only after it sent the whole body.
    text = await read_body(request, BodyRules(max_bytes, "send less at once", discards=4), reservation)
    return Body(text, access_of(request), reservation, request.path_params, request.headers.get(_RETRY_ID))
