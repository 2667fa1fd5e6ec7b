"""Bodies of requests to the Weave SDK's door: JSON whatever Content-Type says, held once, and read in slices."""

from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from app.auth.callers import ACCESS, RouteAccess, access_of
from app.http.request_body import iter_chunks, refusal_by
from app.weave.errors import InvalidRequestError, invalid
from stores.concurrency.request_budget import Reservation
from stores.errors import BadInputError, ForbiddenError, PayloadTooLargeError, StoreError
from stores.json import incremental

LARGE: Final = 4 * incremental.SMALL
_RETRY_ID: Final = "x-weave-retry-id"
_PASSES_BY: Final = 4
"""So many times the largest body passes by unread, so that its sender hears why it is refused."""

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass
class Body:
    """The body of one request, and what its address and headers say."""

    text: bytearray
    access: RouteAccess
    share: Reservation
    path: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def is_large(self) -> bool:
        """Whether it takes so long to work on it that a thread had better do it."""
        return len(self.text) > LARGE

    @property
    def retry_id(self) -> str | None:
        """What all attempts at one request have in common, if its client says that."""
        return self.headers.get(_RETRY_ID)

    @property
    def project_id(self) -> str:
        """The project in the address."""
        return f"{self.path['entity']}/{self.path['project']}"

    async def read(self, model: type[_Model]) -> _Model:
        """The request as a model; what the model does not know is left out.

        Raises:
            InvalidRequestError: it is no JSON, or a field is missing or of the wrong type.
        """
        return _validated(model, await self._decoded(), self.access)

    async def items(self, *path: str) -> "Items":
        """The request's list at a path of keys, none of its members read yet.

        Raises:
            InvalidRequestError: it is no JSON as a whole, or has no such list.
        """
        small = await self._small_items(path)
        return await self._sliced_items(path) if small is None else small

    async def _small_items(self, path: tuple[str, ...]) -> "Items | None":
        """The same of a body that is soon parsed; None where it is none, or all of it is no JSON for one member."""
        if len(self.text) > LARGE:
            return None
        try:
            around = found = await incremental.loads_request(self.text, self.share.reserve)
        except BadInputError:
            return None
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return Items(found, around, ".".join(path), self.access, self.share) if isinstance(found, list) else None

    async def _sliced_items(self, path: tuple[str, ...]) -> "Items":
        try:
            found = await incremental.find_array(self.text, path)
            around = None if found is None else await incremental.loads(found.around, reserve=self.share.reserve)
        except BadInputError as error:
            raise InvalidRequestError(f"the body cannot be read: {error.message}") from None
        if found is None:
            await self._decoded()
            raise InvalidRequestError("is required: a list", ".".join(path))
        return Items(found, around, ".".join(path), self.access, self.share)

    async def _decoded(self) -> object:
        try:
            return await incremental.loads(self.text, incremental.MAX_VALUES, reserve=self.share.reserve)
        except BadInputError as error:
            raise InvalidRequestError(f"the body cannot be read: {error.message}") from None


@dataclass(frozen=True)
class Items:
    """The members of a list, each read when it is asked for, and what stands around the list."""

    members: incremental.ArraySpans | list[object]
    around: object
    name: str
    access: RouteAccess
    share: Reservation

    def __len__(self) -> int:
        return len(self.members)

    def at(self, position: int) -> str:
        """Where a member stands."""
        return f"{self.name}.{position}"

    def size(self, position: int) -> int:
        """The length of a member's text; 0 in a body that was soon parsed."""
        return self.members.size(position) if isinstance(self.members, incremental.ArraySpans) else 0

    async def value(self, position: int, max_values: int = incremental.MAX_VALUES) -> object:
        """A member.

        Raises:
            BadInputError, PayloadTooLargeError: it is no JSON, or holds too much.
            RateLimitedError, UnavailableError: there is no room for it beside other requests.
        """
        if isinstance(self.members, list):
            return self.members[position]
        try:
            span = self.members.span(position)
            return await incremental.loads(self.members.text, max_values, span, self.share.reserve)
        except (BadInputError, PayloadTooLargeError) as error:
            raise error.prefixed(self.at(position)) from None

    def has(self, position: int, part: bytes) -> bool:
        """Whether some bytes are in a member's text, as far as that is at hand."""
        return (
            isinstance(self.members, incremental.ArraySpans)
            and self.members.text.find(part, *self.members.span(position)) >= 0
        )

    def read_around(self, model: type[_Model]) -> _Model:
        """What stands around the list.

        Raises:
            InvalidRequestError: a field is missing or of the wrong type.
        """
        return _validated(model, self.around, self.access)

    def read(self, model: type[_Model], value: object, at: str) -> _Model:
        """What stands at a place in a member, as a model.

        Raises:
            InvalidRequestError: a field is missing or of the wrong type.
            ForbiddenError: the caller may not do this in the project that it names.
        """
        return _validated(model, value, self.access, at)


def _validated(model: type[_Model], value: object, access: RouteAccess, at: str = "") -> _Model:
    try:
        return model.model_validate(value, context={ACCESS: access})
    except ValidationError as error:
        raise invalid(error, at) from None
    except ForbiddenError as error:
        raise error.prefixed(at) if at else error from None


async def read_body(request: Request, max_bytes: int, share: Reservation) -> Body:
    """The body as it comes, kept from others who send as long as the share is open.

    What is refused passes by to its end: a client that still sends would find no answer but a cut connection.

    Raises:
        PayloadTooLargeError: it is larger than that.
        RateLimitedError: other requests of this caller have the rest of their half of the memory.
        UnavailableError: there is no room for it beside other requests.
        BodyTimeoutError: it comes too slowly, or no more of it.
    """
    refused: StoreError | None = _encoded(request)
    text, size = bytearray(), 0
    length = request.headers.get("content-length", "")
    if length.isdecimal():
        refused = refused or await refusal_by(share.wait_for_room, int(length))
    async for piece in iter_chunks(request):
        size += len(piece)
        if size > max_bytes:
            refused = _too_large(max_bytes)
        if size > _PASSES_BY * max_bytes:
            break
        refused = refused or await refusal_by(share.reserve, len(piece))
        if refused is None:
            text += piece
        elif text:
            text = bytearray()
            share.release()
    if refused:
        try:
            raise refused
        finally:
            del refused  # it leads to what it was raised in, which would stay for long
    return Body(text, access_of(request), share, request.path_params, dict(request.headers))


def _encoded(request: Request) -> StoreError | None:
    if request.headers.get("content-encoding", "identity").lower() == "identity":
        return None
    return InvalidRequestError("send the body without Content-Encoding; it is not decompressed")


def _too_large(max_bytes: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"the body is larger than {max_bytes:,} bytes; send less at once, or raise LOOMQL_MAX_BODY_BYTES on the server"
    )
