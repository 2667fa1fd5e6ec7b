"""Calls to language models, with requests and responses like OpenAI's chat completions."""

from dataclasses import dataclass
from typing import Final

from app.demo import failures
from app.demo.span import Json, Span, StillRunning, Trace
from stores.times import SECOND

Messages = list[Json]

_FAILS: Final = 0.018


@dataclass(frozen=True, slots=True)
class Model:
    """A model: billing name, exact version, and median seconds until the first token and for each token."""

    name: str
    version: str
    first_token: float
    token: float
    op: str = "openai.chat.completions.create"

    def op_name(self, trace: Trace) -> str:
        """Return the op of its calls: the ref of a traced client's op, or a plain name."""
        return trace.ref(self.op) if self.op.startswith("openai.") else self.op


LARGE: Final = Model("gpt-4o", "gpt-4o-2024-11-20", 0.8, 0.034)
SMALL: Final = Model("gpt-4o-mini", "gpt-4o-mini-2024-07-18", 0.5, 0.018)
OWN: Final = Model("lindqvist-planner-8b", "lindqvist-planner-8b", 0.25, 0.011)
OPEN: Final = Model("mistral-small-2506", "mistral-small-2506", 0.4, 0.025, "mistral.chat.complete")

PLANNERS: Final = {"2.3.1": SMALL, "2.4.0": OWN}
"""The planning model, by the first release that uses it; the last one runs on the company's own machines."""


def message(role: str, content: str) -> Json:
    """Return one message of a chat."""
    return {"role": role, "content": content}


def chat(parent: Span, model: Model, messages: Messages, reply: str, *, hangs: bool = False) -> str:
    """Record a call to a model and return its reply; some calls fail.

    Raises:
        StepError: the provider failed.
        StillRunning: the call hangs and has no response yet.
    """
    request = {"model": model.name, "messages": messages, "temperature": 0.2, "max_tokens": 800}
    with parent.step(model.op_name(parent.trace), request) as call:
        if hangs:
            raise StillRunning
        if call.trace.rng.random() < _FAILS:
            raise failures.of_model(call.trace.rng).strike(call)
        prompt, completion = sum(_tokens(each["content"]) + 4 for each in messages) + 3, _tokens(reply)
        call.work(model.first_token + completion * model.token)
        call.spend(model.name, prompt, completion)
        call.output = _response(call, model, reply, prompt, completion)
    return reply


def _tokens(text: str) -> int:
    """Estimate the number of tokens, with 4.5 bytes of UTF-8 in each."""
    return 1 + len(text.encode()) * 2 // 9


def _response(call: Span, model: Model, reply: str, prompt: int, completion: int) -> Json:
    return {
        "id": f"chatcmpl-{call.trace.rng.getrandbits(116):029x}",
        "object": "chat.completion",
        "created": call.started_at // SECOND,
        "model": model.version,
        "choices": [
            {"index": 0, "message": message("assistant", reply), "finish_reason": "stop", "logprobs": None},
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }
