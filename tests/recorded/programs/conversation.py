"""The questions of all recorded programs, and the answers of the stand-in provider.

The programs, the provider and the expected readings share them. This module imports the standard library only, because
programs run in environments of their own.
"""

import base64
from dataclasses import dataclass
from typing import Any, Final

SYSTEM: Final = "Answer in one sentence."
USER_ID: Final = "ada@example.org"
SESSION_ID: Final = "session-7"
TAGS: Final = ["weaving", "beta"]

QUESTION: Final = "What is a weft?"
WEATHER_QUESTION: Final = "How warm is it in Lund?"
FABRIC_QUESTION: Final = "Name a fabric."
PICTURE_QUESTION: Final = "What is in this picture?"
REASONING_QUESTION: Final = "Which is longer, warp or weft?"
SECRET_QUESTION: Final = "Tell me the secret pattern."
LOOM_QUESTION: Final = "Name a loom."
EMBEDDED_TEXT: Final = "A weft crosses the warp."

TOOL_NAME: Final = "get_temperature"
TOOL_DESCRIPTION: Final = "Temperature of a city in degrees Celsius."
TOOL_PARAMETERS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL_ARGUMENTS: Final = {"city": "Lund"}
TOOL_RESULT: Final = "21 degrees"
CALL_ID: Final = "call_lund"

FABRIC_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "threads": {"type": "integer"}},
    "required": ["name", "threads"],
    "additionalProperties": False,
}
DOCUMENTS: Final = ("A weft crosses the warp.", "A warp spans the loom.")

PIXEL: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PIXEL_URL: Final = "data:image/png;base64," + base64.b64encode(PIXEL).decode()
REMOTE_URL: Final = "https://images.example.org/pixel.png"

EMBEDDING: Final = [0.25, -0.5, 0.125]
INPUT_TOKENS: Final = 21
OUTPUT_TOKENS: Final = 8
REASONING_TOKENS: Final = 3

OPENAI_MODEL: Final = "gpt-4o-mini"
OPENAI_ANSWERS_AS: Final = "gpt-4o-mini-2024-07-18"
EMBEDDING_MODEL: Final = "text-embedding-3-small"
ANTHROPIC_MODEL: Final = "claude-sonnet-4-5-20250929"
GEMINI_MODEL: Final = "gemini-2.5-flash"
BEDROCK_MODEL: Final = "anthropic.claude-3-5-haiku-20241022-v1:0"
TITAN_MODEL: Final = "amazon.titan-text-express-v1"
COHERE_MODEL: Final = "command-r-08-2024"
MISTRAL_MODEL: Final = "mistral-small-2503"
LIMITED_MODEL: Final = "gpt-limited"
"""A model whose requests get 429."""
BROKEN_MODEL: Final = "gpt-broken"
"""A model whose requests get 500."""


@dataclass(frozen=True)
class Answer:
    """An answer of a model: a text, a refusal or a tool call, perhaps after reasoning."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls_tool: bool = False


ANSWERS: Final = {
    QUESTION: Answer("The thread that crosses the warp."),
    FABRIC_QUESTION: Answer('{"name":"Linen","threads":12}'),
    PICTURE_QUESTION: Answer("One red pixel."),
    REASONING_QUESTION: Answer("The warp.", reasoning="The warp spans the whole loom."),
    SECRET_QUESTION: Answer(refusal="I cannot share that."),
    LOOM_QUESTION: Answer("A floor loom."),
    WEATHER_QUESTION: Answer(calls_tool=True),
}
SECOND_LOOM: Final = "A table loom."
"""Second of several choices."""
ANSWER_WITH_TOOL: Final = Answer("It is 21 degrees in Lund.")
OTHER_ANSWER: Final = Answer("Yes.")
"""Answer to any other question."""


def answer_to(request: Any, *, has_tool_result: bool) -> Answer:
    """Return the answer to the last known question in a request."""
    text = str(request)
    found = max(((text.rfind(question), question) for question in ANSWERS), default=(-1, ""))
    if found[0] < 0:
        return OTHER_ANSWER
    answer = ANSWERS[found[1]]
    return ANSWER_WITH_TOOL if answer.calls_tool and has_tool_result else answer
