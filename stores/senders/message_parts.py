"""Parts of messages: text, reasoning, media, tool calls and their results, from the content of any sender.

A rule recognises a part by its type, or by the one key that names it. Content that no rule recognises becomes text: its
JSON. Nothing is fetched, and Base64 stays as it was sent.
"""

import mimetypes
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from stores.errors import StoreError
from stores.json import AnyJson, codec

Part = dict[str, Any]
"""A part: its `type`, and the fields of that type in GraphQL."""

TEXT, REASONING, REFUSAL = "text", "reasoning", "refusal"
IMAGE, AUDIO, FILE = "image", "audio", "file"
TOOL_CALL, TOOL_RESULT = "tool_call", "tool_result"

MAX_LEVELS: Final = 16
"""Levels of wrappers around a part; deeper ones become text."""

_CUSTOM_TYPE: Final = "CustomWeaveType"
_METADATA: Final = "metadata.json"
_WEAVE_TYPES: Final = {"PIL.Image.Image": "image/png", "wave.Wave_read": "audio/wav"}
"""Media types of values by their types in Weave."""

_DIGEST: Final = re.compile(r"[\w-]{1,128}", re.ASCII)

_MAX_SCHEME: Final = 32
"""Characters at the start of a URL that contain its scheme."""

_GUESSED: Final = mimetypes.MimeTypes()  # built-in types only, so that every machine gives the same result


def text_part(text: str) -> Part:
    """Return a text part."""
    return {"type": TEXT, "text": text}


def json_part(value: object) -> Part:
    """Return a text part with the JSON of a value that no rule recognises; a text stays as it is."""
    return text_part(value if isinstance(value, str) else codec.encode(value))


def first(members: dict[str, Any], names: Iterable[str]) -> AnyJson:
    """Return the first value among some keys that is not null; None if there is none."""
    for name in names:
        value = members.get(name)
        if value is not None:
            return value
    return None


def first_text(members: dict[str, Any], names: Iterable[str]) -> str | None:
    """Return the first value among some keys that is a text, or has one in its `value`; None if there is none."""
    for name in names:
        value = members.get(name)
        if isinstance(value, dict):
            value = value.get("value")
        if isinstance(value, str):
            return value
    return None


def decoded(value: AnyJson) -> AnyJson:
    """Parse a text that is JSON; return any other value unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return codec.loads(value.encode())
    except (StoreError, UnicodeEncodeError):
        return value


def decoded_container(value: AnyJson) -> AnyJson:
    """Parse a text that is a JSON list or object; return any other value unchanged."""
    return decoded(value) if isinstance(value, str) and value[:1] in ("[", "{") else value


def parts_of(content: AnyJson, level: int = 0) -> list[Part]:
    """Return the parts of any content; empty texts and nulls have none."""
    if isinstance(content, list):
        return [part for each in content for part in parts_of(each, level + 1)]
    if content is None or content == "":
        return []
    found = known_parts(content, level) if isinstance(content, dict) else None
    return [json_part(content)] if found is None else found


def known_parts(members: dict[str, Any], level: int = 0) -> list[Part] | None:
    """Return the parts of an object; None if no rule recognises it."""
    if level > MAX_LEVELS:
        return None
    kind = _kind(members)
    rule = _rule_of(kind) if isinstance(kind, str) else None
    if rule and (found := rule(members, level + 1)) is not None:
        return found
    if members.get("_type") == _CUSTOM_TYPE:
        return _media(FILE, members)
    if isinstance(members.get("call"), dict) and "outputs" in members:  # Cohere's first API
        return _tool_result(members, level)
    if members.get("thought") is True and isinstance(members.get("text"), str):  # Gemini
        return _reasoning(members, level)
    for key, rule in _BY_KEY:
        inner = members.get(key)
        if isinstance(inner, dict) and (found := rule(inner, level + 1)) is not None:
            return found
    return _bare_text(members, level)


def _kind(members: dict[str, Any]) -> AnyJson:
    return members.get("type") or members.get("block_type")


def is_typed_part(members: dict[str, Any]) -> bool:
    """Return True if an object says by its type that it is a part, and so no message."""
    kind = members.get("type")
    return isinstance(kind, str) and _rule_of(kind) is not None


def document_parts(document: AnyJson) -> list[Part]:
    """Return a document that a request has beside its messages: a file, its text, and the JSON of its other fields.

    Cohere's requests have texts, fields (first API), or fields under `data` with an id (second API).
    """
    if document is None:
        return []
    if not isinstance(document, str | dict):
        return [json_part(document)]
    fields = {"text": document} if isinstance(document, str) else _document_fields(document)
    title, id_, url, text = (_popped_text(fields, names) for names in (("title",), ("id",), ("url",), _DOCUMENT_TEXTS))
    others = {name: value for name, value in fields.items() if name not in _OF_SERIALIZED and value not in (None, "")}
    texts = [*([text_part(text)] if text else []), *([json_part(others)] if others else [])]
    return [_file(title or id_, url), *texts] if title or id_ or url or texts else []


def _document_fields(document: dict[str, Any]) -> dict[str, Any]:
    data = document.get("data")
    if not isinstance(data, str | dict):
        return dict(document)
    others = {name: value for name, value in document.items() if name != "data"}
    return {**others, "text": data} if isinstance(data, str) else {**others, **data}


def _popped_text(members: dict[str, Any], names: Iterable[str]) -> str | None:
    """Remove the first text that is not empty under some keys, and return it; None if there is none."""
    found = next((name for name in names if members.get(name) and isinstance(members[name], str)), None)
    return None if found is None else members.pop(found)


def tool_call(members: dict[str, Any]) -> Part | None:
    """Return a tool call in any form; None if it has neither a name nor arguments."""
    for wrapper in ("tool_call", "function", "custom"):
        inner = members.get(wrapper)
        if isinstance(inner, dict):
            members = {**members, **inner}
    name = first_text(members, _NAMES)
    arguments = first(members, (*_ARGUMENTS, "server_tool_call"))
    if name is None and arguments is None:
        return None
    return {
        "type": TOOL_CALL,
        "id": first_text(members, _CALL_IDS) or None,
        "name": name,
        "arguments": None if arguments == "" else decoded(arguments),
    }


def tool_calls(value: AnyJson) -> list[Part]:
    """Return a message's tool calls; one that no rule recognises becomes text."""
    if isinstance(value, dict) and value.get("_type") == "Unset":  # Mistral's absent value, as Weave sends it
        return []
    calls = value if isinstance(value, list) else [value] if value else []
    found = ((call, tool_call(call) if isinstance(call, dict) else None) for call in calls)
    return [part or json_part(call) for call, part in found]


def tool_result(id_: str | None, value: AnyJson) -> Part:
    """Return a tool's result: the text of its only text part, or the value; a JSON list or object is parsed."""
    match value:
        case [{"text": str(text)} as only] if _ONLY_TEXT.issuperset(only) and _kind(only) in (None, TEXT):
            value = text
        case [{"json": inner} as only] if len(only) == 1:  # Bedrock
            value = inner
        case {"type": str(), "value": inner} if len(value) == len(("type", "value")):  # Vercel
            value = inner
    return {"type": TOOL_RESULT, "id": id_ or None, "result": decoded_container(value)}


_Rule = Callable[[dict[str, Any], int], list[Part] | None]
"""Returns the parts of an object at a level; None if it is in another form."""

_CALL_IDS: Final = ("call_id", "tool_call_id", "toolCallId", "toolUseId", "tool_use_id", "id")
_NAMES: Final = ("name", "toolName", "tool_name")
_ARGUMENTS: Final = ("arguments", "args", "input", "parameters", "tool_kwargs")
_REASONING_PARTS: Final = ("thinking", "summary", "content", "reasoningText", "reasoning_text", "reasoningContent")
_BUILT_IN_ARGUMENTS: Final = ("action", "code", "queries")
_RESULTS: Final = ("response", "result", "output", "content", "outputs", "results", "server_tool_call_response")
_MEDIA_TYPES: Final = (
    *("mediaType", "media_type", "mimeType", "mime_type", "mimetype", "contentType"),
    *("image_mimetype", "audio_mimetype", "document_mimetype", "video_mimetype"),
)
_FILE_NAMES: Final = ("filename", "file_name", "displayName", "display_name", "document_name", "title", "name")
_FILE_IDS: Final = ("file_id", "fileId")
_SOURCES: Final = (
    *("url", "uri", "fileUri", "file_uri", "file_url", "image_url", "audio_url", "video_url", "document_url"),
    *("s3Location", "source", "inlineData", "inline_data", "fileData", "file_data", "input_audio"),
    *("image", "audio", "document", "video", "file", "data", "bytes", "base64", "content"),
)
"""Keys of media: each has a URL, Base64, a stored file, or an object with such keys."""

_TEXTS_WITH_MEDIA: Final = ("transcript", "context")
"""Keys of texts that the model reads with an audio or, in Anthropic's API, with a document."""

_DOCUMENT_TEXTS: Final = ("text", "snippet", "content", "contents", "page_content")
"""Keys of the text of a document."""

_OF_SERIALIZED: Final = ("_type", "_class_name", "_bases")
"""Keys that Weave adds to objects that it serializes."""

_ONLY_TEXT: Final = frozenset(
    {
        *("text", "type", "block_type", "thought", "thoughtSignature", "thought_signature", "signature"),
        *("annotations", "citations", "citation", "cache_control"),
        *_OF_SERIALIZED,
    }
)
"""Keys of an object that only has a text to show."""


def _text(members: dict[str, Any], _level: int) -> list[Part] | None:
    text = first_text(members, ("text", "content", "value"))
    if text is None:
        return None
    return [text_part(text)] if text else []


def _bare_text(members: dict[str, Any], level: int) -> list[Part] | None:
    """Return the text of an object without a type, if it has nothing else to show."""
    others = (name for name, value in members.items() if value is not None)
    return _text(members, level) if _kind(members) is None and _ONLY_TEXT.issuperset(others) else None


def _reasoning(members: dict[str, Any], level: int) -> list[Part] | None:
    """Return reasoning; its text is empty if the provider encrypted it."""
    text = first_text(members, ("thinking", "reasoning", "text"))
    if text is None:
        parts = parts_of([members[name] for name in _REASONING_PARTS if members.get(name)], level)
        text = "\n\n".join(part["text"] for part in parts if part.get("text"))
    return [{"type": REASONING, "text": text}]


def _refusal(members: dict[str, Any], _level: int) -> list[Part] | None:
    text = first_text(members, ("refusal", "text", "content"))
    return None if text is None else [{"type": REFUSAL, "text": text}]


def _tool_call(members: dict[str, Any], _level: int) -> list[Part] | None:
    """Return a call; one that the provider ran itself contains its result too."""
    kind = str(members.get("type"))
    is_built_in = kind.endswith("_call") and first_text(members, _NAMES) is None
    if is_built_in and not isinstance(members.get("function"), dict):
        arguments = first(members, (*_ARGUMENTS, *_BUILT_IN_ARGUMENTS))
        members = {**members, "name": kind.removesuffix("_call"), "arguments": arguments}
    part = tool_call(members)
    result = first(members, ("output", "results", "outputs", "result")) if kind.endswith("_call") else None
    if part is None:
        return None
    if result is None:
        return [part]
    image = _media(IMAGE, {"data": result}) if kind == "image_generation_call" else None
    return [part, *(image or [tool_result(part["id"], result)])]


def _tool_result(members: dict[str, Any], _level: int) -> list[Part] | None:
    id_, value = first_text(members, _CALL_IDS), first(members, _RESULTS)
    return None if id_ is None and value is None else [tool_result(id_, value)]


def _guarded(members: dict[str, Any], level: int) -> list[Part] | None:
    """Return what a guardrail of Bedrock assesses; the qualifiers of a text are no text."""
    match members:
        case {"text": {"text": str()} as text} if len(members) == 1:
            return _text(text, level)
        case {"image": {}} if len(members) == 1:
            return known_parts(members, level)
    return None


def _cited(members: dict[str, Any], level: int) -> list[Part] | None:
    """Return the texts to which Bedrock adds citations."""
    return parts_of(members["content"], level) if isinstance(members.get("content"), list) else None


def _executable_code(members: dict[str, Any], _level: int) -> list[Part] | None:
    return [{"type": TOOL_CALL, "id": first_text(members, ("id",)), "name": "code_execution", "arguments": members}]


def _file(name: str | None, url: str | None) -> Part:
    return {"type": FILE, "media_type": None, "url": url, "file": None, "data": None, "name": name, "file_id": None}


def _media_rule(kind: str) -> _Rule:
    return lambda members, _level: _media(kind, members)


def _media(kind: str, members: dict[str, Any]) -> list[Part] | None:
    """Return an image, audio or another file, and its text; None if neither its location nor content is known.

    The media type decides between the three if `kind` is a file.
    """
    part = {**_file(None, None), "type": kind}
    texts: list[Part] = []
    if not _fill(part, members, texts, 0):
        return None
    if kind == FILE:
        main_type = (part["media_type"] or "").partition("/")[0]
        part["type"] = main_type if main_type in (IMAGE, AUDIO) else FILE
    return [part, *texts]


def _fill(part: Part, value: AnyJson, texts: list[Part], level: int) -> bool:
    """Add the location or the content of media to a part, and what is text to `texts`; return False without any."""
    if isinstance(value, str) and value:
        _fill_from_text(part, value)
        return True
    if not isinstance(value, dict) or level > MAX_LEVELS:
        return False
    if value.get("_type") == _CUSTOM_TYPE:
        return _fill_from_file(part, value)
    part["media_type"] = part["media_type"] or first_text(value, _MEDIA_TYPES) or _of_format(part["type"], value)
    part["name"] = part["name"] or first_text(value, _FILE_NAMES)
    part["file_id"] = part["file_id"] or first_text(value, _FILE_IDS)
    texts += [text_part(text) for name in _TEXTS_WITH_MEDIA if (text := value.get(name)) and isinstance(text, str)]
    if level and value.get("type") in ("text", "content"):  # Anthropic's documents in plain text
        texts += parts_of(first(value, ("data", "content")), level)
        return bool(texts)
    found = [_fill(part, value[name], texts, level + 1) for name in _SOURCES if name in value]
    return any(found) or part["file_id"] is not None or bool(texts)


def _fill_from_text(part: Part, text: str) -> None:
    if text.startswith("data:"):
        media_type, _, data = text.removeprefix("data:").partition(",")
        part["media_type"] = media_type.partition(";")[0] or part["media_type"]
        part["data"] = data
    elif "://" in text[:_MAX_SCHEME]:
        part["url"] = text
    else:
        part["data"] = text


def _fill_from_file(part: Part, value: dict[str, Any]) -> bool:
    """Add the digest of a file that a Weave value refers to."""
    files, weave_type = value.get("files"), value.get("weave_type")
    digests = files.items() if isinstance(files, dict) else ()
    part["file"] = next((each for name, each in digests if name != _METADATA and _is_digest(each)), None)
    kind = weave_type.get("type") if isinstance(weave_type, dict) else None
    part["media_type"] = part["media_type"] or (_WEAVE_TYPES.get(kind) if isinstance(kind, str) else None)
    return part["file"] is not None


def _is_digest(value: AnyJson) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _of_format(kind: str, value: dict[str, Any]) -> str | None:
    """Return the media type of a `format` such as `png`; OpenTelemetry names the main type in `modality`."""
    name = value.get("format")
    if not isinstance(name, str):
        return None
    return name if "/" in name else f"{kind}/{name}" if kind in (IMAGE, AUDIO) else _GUESSED.guess_type(f"_.{name}")[0]


def _by_modality(members: dict[str, Any], _level: int) -> list[Part] | None:
    modality = members.get("modality")
    return _media(modality if modality in (IMAGE, AUDIO) else FILE, members)


_BY_TYPE: Final[dict[str, _Rule]] = {
    **dict.fromkeys(
        ("text", "input_text", "output_text", "summary_text", "text-plain", "guard_content", "guarded_text"), _text
    ),
    **dict.fromkeys(("reasoning", "thinking", "redacted_thinking", "reasoning_text", "thought"), _reasoning),
    "refusal": _refusal,
    **dict.fromkeys(("image", "image_url", "input_image", "image_file"), _media_rule(IMAGE)),
    **dict.fromkeys(("audio", "input_audio", "output_audio", "audio_url"), _media_rule(AUDIO)),
    **dict.fromkeys(
        (
            *("document", "input_file", "file_url", "document_url", "media", "video", "video_url"),
            *("container_upload",),
        ),
        _media_rule(FILE),
    ),
    **dict.fromkeys(("blob", "uri", "file"), _by_modality),
    **dict.fromkeys(("tool_call", "tool-call", "tool_use", "function", "mcp_approval_request"), _tool_call),
    **dict.fromkeys(("tool_result", "tool-result", "tool_call_response", "server_tool_call_response"), _tool_result),
}

_BY_ENDING: Final[tuple[tuple[str, _Rule], ...]] = (
    ("_call", _tool_call),
    ("_tool_use", _tool_call),
    ("_call_output", _tool_result),
    ("_tool_result", _tool_result),
)

_BY_KEY: Final[tuple[tuple[str, _Rule], ...]] = (
    *dict.fromkeys(("functionCall", "function_call", "toolUse", "tool_call"), _tool_call).items(),
    *dict.fromkeys(("functionResponse", "function_response", "toolResult"), _tool_result).items(),
    *dict.fromkeys(("executableCode", "executable_code"), _executable_code).items(),
    *dict.fromkeys(("codeExecutionResult", "code_execution_result"), _tool_result).items(),
    *dict.fromkeys(("reasoningContent", "reasoning_content"), _reasoning).items(),
    *dict.fromkeys(
        ("inlineData", "inline_data", "fileData", "file_data", "document", "video"), _media_rule(FILE)
    ).items(),
    ("image", _media_rule(IMAGE)),
    ("audio", _media_rule(AUDIO)),
    *dict.fromkeys(("message_content", "guard_content"), known_parts).items(),
    ("guardContent", _guarded),
    ("citationsContent", _cited),
    *dict.fromkeys(("cachePoint", "cache_point"), lambda _members, _level: []).items(),
)
"""Rules by the key of an object without a type: the object under the key has the form of the rule."""


def _rule_of(kind: str) -> _Rule | None:
    return _BY_TYPE.get(kind) or next((rule for ending, rule in _BY_ENDING if kind.endswith(ending)), None)
