"""GraphQL types of messages: the inputs and outputs of calls in one shape for all senders."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info, Stores
from graphql_schema.execution.scalars import BigInt
from graphql_schema.fields import FieldDefinition, argument, computed_field, json_field, plain_field, resolved_field
from graphql_schema.fields.connections import Call, Find, KeyOf, batched_resolver, key_of, to_one
from graphql_schema.limits.cost_weights import COUNT
from stores.calls.messages import Read, read_messages
from stores.concurrency.time_slices import cooperative
from stores.errors import BadInputError
from stores.files.uploads import UNKNOWN
from stores.paging import PageRequest, Row, ValueField
from stores.refs import file_ref
from stores.senders.message_parts import Part
from stores.senders.messages import Message

MAX_MESSAGES: Final = 10_000
"""Maximum number of messages that a field returns without the argument `first`, and of parts in any case."""


@strawberry.type
class TextPart:
    """Text, or the JSON of content that LoomQL does not recognize."""

    text: str
    """Text as sent."""


@strawberry.type
class ReasoningPart:
    """Reasoning of a model before its answer."""

    text: str
    """Text of the reasoning or of its summary; empty if the provider only sent it encrypted."""


@strawberry.type
class RefusalPart:
    """Refusal of a model to answer."""

    text: str
    """Explanation by the model."""


async def _media_types(info: Info, parts: Sequence["_Media"]) -> list[str | None]:
    unstated = [part.file_key for part in parts if part.file_key and not part.sent_media_type]
    find = info.context.stores.files.by_keys
    files = await info.context.loaders.load_all(find, unstated, frozenset({"content_type"})) if unstated else {}
    detected = {key: file["content_type"] for key, file in files.items() if file and file["content_type"] != UNKNOWN}
    return [part.sent_media_type or (part.file_key and detected.get(part.file_key)) for part in parts]


@strawberry.type
class _Media:
    """Content that is no text."""

    sent_media_type: strawberry.Private[str | None]
    file_key: strawberry.Private[tuple[str, str] | None]
    media_type = resolved_field(returns=str | None)(batched_resolver(_media_types))
    """Media type, such as image/png, as sent, or else as detected from a stored file; null if unknown."""
    url: str | None
    """URL as sent, which LoomQL never fetches; null for content sent inline or by id."""
    ref: strawberry.ID | None
    """Ref of the stored file with the content, which node resolves; null if it is no stored file."""
    data: str | None
    """Content in Base64 as sent inline; null for a URL, an id or a stored file."""
    name: str | None
    """Name of the file; null if the sender did not state it."""
    file_id: str | None
    """Id of the file at the provider; null if the content was not sent by id."""

    size_bytes = computed_field(
        lambda part: None if part.data is None else len(part.data.rstrip("=")) * 3 // 4, BigInt | None
    )
    """Size of the inline content in bytes; null without data. A stored file knows its own size."""


@strawberry.type
class ImagePart(_Media):
    """Image."""


@strawberry.type
class AudioPart(_Media):
    """Audio; a transcript follows it as a TextPart."""


@strawberry.type
class FilePart(_Media):
    """Document, video or another file; its plain text follows it as a TextPart."""


@strawberry.type
class ToolCallPart:
    """Call of a tool that the model requested, or that its provider ran."""

    id: strawberry.ID | None
    """Id of the tool call, which the result repeats; null if the sender has none."""
    name: str | None
    """Name of the tool; null if the sender did not state it."""
    sent_arguments: strawberry.Private[object]
    arguments: JSON | None = json_field(ValueField("sent_arguments"))
    """Arguments as JSON, mostly an object; a text that is no JSON is returned as a JSON string. Null for none."""


@strawberry.type
class ToolResultPart:
    """Result of a tool."""

    id: strawberry.ID | None
    """Id of the tool call that has this result; null if the sender has none."""
    sent_result: strawberry.Private[object]
    result: JSON | None = json_field(ValueField("sent_result"))
    """Result as JSON; the text of a JSON object or list is parsed. Null for none."""


ChatPart = Annotated[
    TextPart | ReasoningPart | ImagePart | AudioPart | FilePart | ToolCallPart | ToolResultPart | RefusalPart,
    strawberry.union("ChatPart", description="Part of a message."),
]

_PARTS: Final[dict[str, Callable[..., object]]] = {
    "text": TextPart,
    "reasoning": ReasoningPart,
    "refusal": RefusalPart,
    "image": ImagePart,
    "audio": AudioPart,
    "file": FilePart,
    "tool_call": lambda id, name, arguments: ToolCallPart(id=id, name=name, sent_arguments=arguments),
    "tool_result": lambda id, result: ToolResultPart(id=id, sent_result=result),
}


@strawberry.type
class ChatMessage:
    """Message of a conversation with a model, in one shape for all senders."""

    # The source is a message of `stores.senders.messages`, whose parts are of the types above.

    role: str
    """Role of the author: system, developer, user, assistant or tool; any other as sent. Names that mean one of these,
    such as human, ai and model, are replaced. A message that only has results of tools has the role tool.
    """
    name: str | None
    """Name of the author; null if the sender did not state it."""
    parts: list[ChatPart] = plain_field(size=2)
    """Parts in their order; empty for a message without content."""
    finish_reason: str | None
    """Reason why the model stopped, as its provider names it; null for inputs, and if unknown."""


def part_of(part: Part, project_id: str) -> object:
    """Convert a part of `stores.senders` to its GraphQL type."""
    fields = {name: value for name, value in part.items() if name != "type"}
    if "file" in fields:
        digest = fields.pop("file")
        fields["ref"] = digest and file_ref({"project_id": project_id, "digest": digest})
        fields["file_key"] = digest and (project_id, digest)
        fields["sent_media_type"] = fields.pop("media_type")
    return _PARTS[part["type"]](**fields)


def message_row(message: Message, project_id: str) -> Row:
    """Convert a message of `stores.senders` to a source of `ChatMessage`."""
    return {**message, "parts": [part_of(part, project_id) for part in message["parts"]]}


PAGING: Final = {
    "first": Annotated[
        int | None, argument("Number of messages from the start, at most 10,000; all if omitted, up to 10,000.")
    ],
    "last": Annotated[int | None, argument("Number of messages from the end, at most 10,000.")],
    "offset": Annotated[int | None, argument("Number of messages to skip from the start.")],
}


def messages_field(read: Read) -> FieldDefinition:
    """Field of calls with messages, all by default."""

    async def of_all(_info: Info, parents: Sequence[Row], **given: int | None) -> list[list[Row]]:
        request = page_of(given)
        return [
            [message_row(message, row["project_id"]) for message in page(await read_messages(row, read), request)]
            async for row in cooperative(parents)
        ]

    return resolved_field(returns=list[ChatMessage] | None, work=0)(batched_resolver(of_all, PAGING))


def page_of(given: Mapping[str, int | None]) -> PageRequest:
    """Return the page that the arguments of a list of messages request; one more than the limit if they state no size.

    Raises:
        BadInputError: if a number is out of range, or `last` is combined with another.
    """
    for name in ("first", "last"):
        size = given.get(name)
        if size is not None and size > MAX_MESSAGES:
            raise BadInputError(
                f"{size:,} exceeds the limit of {MAX_MESSAGES:,} messages per page; request pages by first and offset",
                name,
            )
    if given.get("last") is not None and any(given.get(name) is not None for name in ("first", "offset")):
        raise BadInputError(
            "cannot be combined with first or offset; request messages from the start by these, or the newest by last",
            "last",
        )
    return PageRequest.from_arguments(
        first=given.get("first"),
        last=given.get("last"),
        offset=given.get("offset"),
        default_size=MAX_MESSAGES + 1,
        max_size=MAX_MESSAGES,
    )


def page(messages: list[Row], request: PageRequest) -> list[Row]:
    """Return the requested messages, or entries of a conversation.

    Raises:
        BadInputError: if there are too many without a size, or if they have too many parts.
    """
    rest = messages[-request.size :] if request.backward and request.size else messages[request.offset :]
    found = rest[: request.size]
    if len(found) > MAX_MESSAGES:
        raise BadInputError(
            f"omitted, and there are {len(messages):,} messages; the limit is {MAX_MESSAGES:,} per page, so request "
            "pages by first and offset, or the newest by last",
            "first",
        )
    if sum(len(each.get("message", each)["parts"]) for each in found) > MAX_MESSAGES:
        raise BadInputError(
            f"the messages have more than {MAX_MESSAGES:,} parts, the limit of a page; request fewer, or read the "
            "content by inputs(path: ...) or output(path: ...)",
            "first",
        )
    return found


@strawberry.type
class ConversationMessage:
    """Message of a conversation, with the call that first had it."""

    # The source is a row of `stores.conversations`.

    message = computed_field(lambda row: message_row(row["message"], row["project_id"]), ChatMessage)
    """Message that no earlier call of the conversation had."""
    call_id: strawberry.ID
    """Id of the call that first sent or received the message."""
    call = to_one(Call | None, lambda stores: stores.calls.by_keys, key_of("project_id", "call_id"))
    """Call that first sent or received the message; null if it was deleted meanwhile."""


def conversation_field(find: Callable[[Stores], Find], key: KeyOf) -> FieldDefinition:
    """Field of traces or threads with their conversation, all messages by default."""

    async def of_all(info: Info, parents: Sequence[Row], **given: int | None) -> list[list[Row]]:
        request, keys = page_of(given), [key(parent) for parent in parents]
        found = await info.context.loaders.load_all(find(info.context.stores), keys)
        return [page(found[each], request) for each in keys]

    return resolved_field(returns=list[ConversationMessage] | None, work=COUNT)(batched_resolver(of_all, PAGING))
