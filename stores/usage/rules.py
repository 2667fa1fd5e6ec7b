"""Rules that read each sender's token counts into the classes of `stores.usage.classes`.

Senders differ in the names of counts, in whether input includes cached tokens, and in whether output includes
reasoning. `RULES` has one row per format of a model's usage, with its source; the first row that fits applies.
`SPAN_RULES` has the rules that depend on the program that made a span. If a row leaves inclusion open, the total
decides: it is the sum either with the parts or without them.

A path such as `a.b` selects the key `b` of the object `a`. In a list it selects the entry with that modality or time to
live: `promptTokensDetails.AUDIO` is the count of `{"modality": "AUDIO", "tokenCount": 5}`.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

from stores.json.bson_copy import INT64
from stores.usage.classes import CLASSES, INPUT, OUTPUT, Side

MOST: Final = INT64 - 1
"""Largest count that can be stored."""

CLASS_COUNTS: Final = "token_classes"
"""Key of a model's usage with the counts of all classes, which LoomQL writes for spans."""

STATED_COST: Final = "stated_cost"

CACHE: Final = ("cache_read", "cache_write")
_MEDIA_IN: Final = ("audio_input", "image_input")
_MEDIA_OUT: Final = ("audio_output", "image_output")
THOUGHTS: Final = "reasoning"
REASONING: Final = (THOUGHTS,)

_Keys = Mapping[str, tuple[str, ...]]
_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """Defines how one format of a model's usage is read.

    Args:
        sender: name of the sender.
        marks: paths of which at least one must exist; empty for the last rule, which reads every other format.
        keys: paths by name of the count; the first path with a count above 0 applies. Names are those of classes, and:
            `input`, `output`, `total` as sent; `input_beside` and `output_beside`, tokens that those never include;
            `cache_write`, all tokens written; `cache_read_image`; `stated_cost`. `cache_read`, `audio_input` and
            `image_input` include cached audio and images.
        source: URL of the document that defines the format.
        also: paths of which one must count more than 0 as well.
        without: paths that must not exist.
        input_excludes: counts that `input` does not include.
        output_excludes: counts that `output` does not include.
        is_fixed: true if the sender never deviates; otherwise the total, if sent, decides.
        cost_divisor: units of `stated_cost` per US dollar.
        note: a sentence for the documentation.
    """

    sender: str
    marks: tuple[str, ...]
    keys: _Keys
    source: str
    also: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    input_excludes: tuple[str, ...] = ()
    output_excludes: tuple[str, ...] = ()
    is_fixed: bool = False
    cost_divisor: int = 1
    note: str = ""


class Split(NamedTuple):
    """Consistent counts of tokens.

    Args:
        prompt: all input tokens.
        completion: all output tokens.
        total: the total as sent, unless it is less than prompt plus completion and excludes some tokens.
        is_sum: true if no total was sent, so the total is the sum of both.
        classes: non-zero counts of all classes except the rest of each side.
    """

    prompt: int
    completion: int
    total: int
    is_sum: bool
    classes: dict[str, int]


_IN: Final = ("prompt_tokens", "input_tokens")
_OUT: Final = ("completion_tokens", "output_tokens")
_TOTAL: Final = ("total_tokens",)
_TOTALS: Final = {"input": _IN, "output": _OUT, "total": _TOTAL}

_OPENAI_KEYS: Final[_Keys] = {
    **_TOTALS,
    "cache_read": (
        "prompt_tokens_details.cached_tokens",
        "input_tokens_details.cached_tokens",
        "input_token_details.cached_tokens",
        "prompt_cache_hit_tokens",
        "num_cached_tokens",
        "cached_tokens",
    ),
    "cache_read_audio": (
        "input_token_details.cached_tokens_details.audio_tokens",
        "prompt_tokens_details.cached_tokens_details.audio_tokens",
    ),
    "cache_read_image": (
        "input_token_details.cached_tokens_details.image_tokens",
        "prompt_tokens_details.cached_tokens_details.image_tokens",
    ),
    "cache_write": (
        "prompt_tokens_details.cache_write_tokens",
        "input_tokens_details.cache_write_tokens",
        "prompt_tokens_details.cache_creation_input_tokens",
    ),
    "audio_input": (
        "prompt_tokens_details.audio_tokens",
        "input_tokens_details.audio_tokens",
        "input_token_details.audio_tokens",
    ),
    "image_input": (
        "prompt_tokens_details.image_tokens",
        "input_tokens_details.image_tokens",
        "input_token_details.image_tokens",
    ),
    "reasoning": (
        "completion_tokens_details.reasoning_tokens",
        "output_tokens_details.reasoning_tokens",
        "output_token_details.reasoning_tokens",
        "output_tokens_details.thinking_tokens",
        "reasoning_tokens",
    ),
    "audio_output": (
        "completion_tokens_details.audio_tokens",
        "output_tokens_details.audio_tokens",
        "output_token_details.audio_tokens",
    ),
    "image_output": (
        "completion_tokens_details.image_tokens",
        "output_tokens_details.image_tokens",
    ),
    "web_searches": (
        "server_tool_use.web_search_requests",
        "server_tool_use_details.web_search_requests",
        "server_side_tool_usage_details.web_search_calls",
    ),
    STATED_COST: ("cost",),
}
"""Keys of OpenAI and the many senders that use its names."""

RULES: Final = (
    Rule(
        "Google Gemini and Vertex AI",
        marks=(
            "promptTokenCount",
            "candidatesTokenCount",
            "totalTokenCount",
            "prompt_token_count",
            "candidates_token_count",
            "total_token_count",
        ),
        keys={
            "input": ("promptTokenCount", "prompt_token_count"),
            "input_beside": ("toolUsePromptTokenCount", "tool_use_prompt_token_count"),
            "output": (
                "candidatesTokenCount",
                "candidates_token_count",
                "responseTokenCount",
                "response_token_count",
            ),
            "total": ("totalTokenCount", "total_token_count"),
            "cache_read": ("cachedContentTokenCount", "cached_content_token_count"),
            "cache_read_audio": ("cacheTokensDetails.AUDIO", "cache_tokens_details.AUDIO"),
            "cache_read_image": ("cacheTokensDetails.IMAGE", "cache_tokens_details.IMAGE"),
            "audio_input": ("promptTokensDetails.AUDIO", "prompt_tokens_details.AUDIO"),
            "image_input": ("promptTokensDetails.IMAGE", "prompt_tokens_details.IMAGE"),
            "reasoning": ("thoughtsTokenCount", "thoughts_token_count"),
            "audio_output": (
                "candidatesTokensDetails.AUDIO",
                "candidates_tokens_details.AUDIO",
                "responseTokensDetails.AUDIO",
                "response_tokens_details.AUDIO",
            ),
            "image_output": (
                "candidatesTokensDetails.IMAGE",
                "candidates_tokens_details.IMAGE",
                "responseTokensDetails.IMAGE",
                "response_tokens_details.IMAGE",
            ),
        },
        output_excludes=REASONING,
        source="https://ai.google.dev/api/generate-content#UsageMetadata",
        note="Tokens of tool prompts are input in addition to `promptTokenCount`. Those of Google's own search are "
        "free, but usage does not list them separately.",
    ),
    Rule(
        "Vercel AI SDK",
        marks=("cachedInputTokens", "reasoningTokens", "inputTokenDetails", "outputTokenDetails", "promptTokens"),
        keys={
            "input": ("inputTokens", "promptTokens"),
            "output": ("outputTokens", "completionTokens"),
            "total": ("totalTokens",),
            "cache_read": ("inputTokenDetails.cacheReadTokens", "cachedInputTokens"),
            "cache_write": ("inputTokenDetails.cacheWriteTokens",),
            "reasoning": ("outputTokenDetails.reasoningTokens", "reasoningTokens"),
        },
        source="https://ai-sdk.dev/docs/reference/ai-sdk-core/generate-text",
    ),
    Rule(
        "Claude Agent SDK (`modelUsage`)",
        marks=("cacheCreationInputTokens", "costUSD"),
        keys={
            "input": ("inputTokens",),
            "output": ("outputTokens",),
            "cache_read": ("cacheReadInputTokens",),
            "cache_write": ("cacheCreationInputTokens",),
            "web_searches": ("webSearchRequests",),
            STATED_COST: ("costUSD",),
        },
        input_excludes=CACHE,
        source="https://code.claude.com/docs/en/agent-sdk/cost-tracking",
        note="`usage` of a result has Anthropic's format.",
    ),
    Rule(
        "Amazon Bedrock Converse",
        marks=("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"),
        keys={
            "input": ("inputTokens",),
            "output": ("outputTokens",),
            "total": ("totalTokens",),
            "cache_read": ("cacheReadInputTokens", "cacheReadInputTokenCount"),
            "cache_write": ("cacheWriteInputTokens", "cacheWriteInputTokenCount"),
            "cache_write_5m": ("cacheDetails.5m",),
            "cache_write_1h": ("cacheDetails.1h",),
        },
        input_excludes=CACHE,
        is_fixed=True,
        source="https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html",
    ),
    Rule(
        "Cohere",
        marks=("billed_units", "tokens.input_tokens", "tokens.output_tokens"),
        keys={
            "input": ("billed_units.input_tokens", "tokens.input_tokens"),
            "output": ("billed_units.output_tokens", "tokens.output_tokens"),
        },
        source="https://docs.cohere.com/docs/how-does-cohere-pricing-work",
        note="Billed units are counted, not the prompt tokens that Cohere adds.",
    ),
    Rule(
        "Perplexity",
        marks=("citation_tokens", "num_search_queries", "search_context_size"),
        keys={
            **_TOTALS,
            "input_beside": ("citation_tokens",),
            "reasoning": _OPENAI_KEYS["reasoning"],
            "web_searches": ("num_search_queries",),
            STATED_COST: ("cost.total_cost",),
        },
        output_excludes=REASONING,
        is_fixed=True,
        source="https://docs.perplexity.ai/getting-started/pricing",
        note="Citation tokens are input in addition to `prompt_tokens`.",
    ),
    Rule(
        "xAI",
        marks=("num_sources_used", "cost_in_usd_ticks"),
        keys={**_OPENAI_KEYS, STATED_COST: ("cost_in_usd_ticks",)},
        output_excludes=REASONING,
        cost_divisor=10**10,
        source="https://docs.x.ai/docs/guides/reasoning",
    ),
    Rule(
        "LangChain (`usage_metadata`)",
        marks=(
            "input_token_details.cache_read",
            "input_token_details.cache_creation",
            "input_token_details.audio",
            "output_token_details.reasoning",
            "output_token_details.audio",
        ),
        keys={
            **_TOTALS,
            "cache_read": ("input_token_details.cache_read",),
            "cache_write": ("input_token_details.cache_creation",),
            "cache_write_5m": ("input_token_details.ephemeral_5m_input_tokens",),
            "cache_write_1h": ("input_token_details.ephemeral_1h_input_tokens",),
            "audio_input": ("input_token_details.audio",),
            "reasoning": ("output_token_details.reasoning",),
            "audio_output": ("output_token_details.audio",),
        },
        source="https://reference.langchain.com/python/langchain-core/messages/ai/UsageMetadata",
    ),
    Rule(
        "LiteLLM",
        marks=("cache_read_input_tokens", "cache_creation_input_tokens"),
        also=("prompt_tokens",),
        keys={
            **_OPENAI_KEYS,
            "cache_read": ("cache_read_input_tokens", "prompt_tokens_details.cached_tokens"),
            "cache_write": ("cache_creation_input_tokens", "prompt_tokens_details.cache_creation_tokens"),
            "cache_write_5m": ("prompt_tokens_details.cache_creation_token_details.ephemeral_5m_input_tokens",),
            "cache_write_1h": ("prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens",),
            "web_searches": ("server_tool_use.web_search_requests", "prompt_tokens_details.web_search_requests"),
        },
        source="https://docs.litellm.ai/docs/completion/prompt_caching",
        note="`prompt_tokens` includes cached tokens, although Anthropic's names are present too.",
    ),
    Rule(
        "Langfuse (`usage_details`)",
        marks=("input", "output"),
        without=("prompt_tokens", "input_tokens"),
        keys={
            "input": ("input",),
            "output": ("output",),
            "total": ("total",),
            "input_beside": ("input_modality_TEXT", "input_text_tokens"),
            "output_beside": ("output_modality_TEXT", "output_text_tokens"),
            "cache_read": (
                "cache_read_input_tokens",
                "input_cached_tokens",
                "input_cache_read",
                "cached_modality_TEXT",
            ),
            "cache_write": ("cache_creation_input_tokens", "input_cache_creation"),
            "cache_write_5m": (
                "input_cache_creation_5m",
                "input_ephemeral_5m_input_tokens",
                "cache_creation_ephemeral_5m_input_tokens",
            ),
            "cache_write_1h": (
                "input_cache_creation_1h",
                "input_ephemeral_1h_input_tokens",
                "cache_creation_ephemeral_1h_input_tokens",
            ),
            "audio_input": ("input_audio_tokens", "input_audio", "input_modality_AUDIO"),
            "image_input": ("input_image_tokens", "input_image", "input_modality_IMAGE"),
            "reasoning": ("output_reasoning_tokens", "output_reasoning", "reasoning_tokens"),
            "audio_output": ("output_audio_tokens", "output_audio", "output_modality_AUDIO"),
            "image_output": ("output_image_tokens", "output_image", "output_modality_IMAGE"),
        },
        input_excludes=(*CACHE, *_MEDIA_IN),
        output_excludes=(*REASONING, *_MEDIA_OUT),
        source="https://langfuse.com/docs/observability/features/token-and-cost-tracking",
        note="Usage types do not overlap.",
    ),
    Rule(
        "Anthropic",
        marks=("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"),
        keys={
            **_TOTALS,
            "cache_read": ("cache_read_input_tokens",),
            "cache_write": ("cache_creation_input_tokens",),
            "cache_write_5m": ("cache_creation.ephemeral_5m_input_tokens",),
            "cache_write_1h": ("cache_creation.ephemeral_1h_input_tokens",),
            "reasoning": ("output_tokens_details.thinking_tokens",),
            "web_searches": ("server_tool_use.web_search_requests",),
        },
        input_excludes=CACHE,
        source="https://platform.claude.com/docs/en/build-with-claude/prompt-caching",
    ),
    Rule(
        "OpenAI images",
        marks=("input_tokens_details.image_tokens",),
        without=("output_tokens_details", "input_tokens_details.cached_tokens"),
        keys={
            "input": _IN,
            "total": _TOTAL,
            "image_input": ("input_tokens_details.image_tokens",),
            "image_output": _OUT,
        },
        source="https://platform.openai.com/docs/api-reference/images/object",
        note="Without `output_tokens_details` all output tokens are image tokens.",
    ),
    Rule(
        "OpenAI (chat, responses, realtime, transcription), and Azure, DeepSeek, Groq, Mistral, OpenRouter and others",
        marks=(),
        keys=_OPENAI_KEYS,
        source="https://platform.openai.com/docs/api-reference/chat/object",
        note="Where the total is the sum of input, output and reasoning, the output excludes reasoning.",
    ),
)
"""Formats of a model's usage, specific ones first."""


_GEMINI: Final = re.compile(r"(?:^|[/:])gemini-", re.IGNORECASE)


def totals_thoughts(model: str) -> bool:
    """Return True if a model's total beyond input and output is reasoning, unless reasoning is reported.

    Gemini counts reasoning only in the total. Some clients that pass on its counts do the same, such as Weave's client
    (`weave/integrations/google_genai/gemini_utils.py`).
    """
    return _GEMINI.search(model) is not None


class SpanRule(NamedTuple):
    """Defines whether the input count of spans excludes cached tokens.

    Args:
        sender: the program that makes the spans.
        begins: prefix of the instrumentation scope's name, or of the attribute that states the input.
        providers: substrings of provider names, one of which must occur; empty for any provider.
        without: a count that must be missing.
        excludes: true if the input excludes cached tokens.
        is_fixed: true if the sender never deviates; otherwise the total, if sent, decides.
        source: URL of the document or code that defines this.
    """

    sender: str
    begins: str
    providers: tuple[str, ...]
    without: str | None
    excludes: bool
    is_fixed: bool
    source: str


SPAN_RULES: Final = (
    SpanRule(
        "Vercel AI SDK before version 6, with Anthropic or Bedrock, also through its gateway",
        begins="ai.usage.",
        providers=("anthropic", "bedrock"),
        without="input_uncached",
        excludes=True,
        is_fixed=True,
        source="https://github.com/vercel/ai/blob/release-v5.0/packages/anthropic/src/anthropic-messages-language-model.ts",
    ),
    SpanRule(
        "OpenLLMetry, with Bedrock",
        begins="opentelemetry.instrumentation.bedrock",
        providers=(),
        without=None,
        excludes=True,
        is_fixed=True,
        source="https://github.com/traceloop/openllmetry/tree/main/packages/opentelemetry-instrumentation-bedrock",
    ),
    SpanRule(
        "OpenLLMetry, LlamaIndex with Anthropic",
        begins="opentelemetry.instrumentation.llamaindex",
        providers=("anthropic",),
        without=None,
        excludes=True,
        is_fixed=True,
        source="https://github.com/traceloop/openllmetry/blob/main/packages/opentelemetry-instrumentation-llamaindex/opentelemetry/instrumentation/llamaindex/_response_utils.py",
    ),
    SpanRule(
        "OpenLIT, with Anthropic",
        begins="openlit.instrumentation.anthropic",
        providers=(),
        without=None,
        excludes=True,
        is_fixed=True,
        source="https://github.com/openlit/openlit/blob/main/sdk/python/src/openlit/instrumentation/anthropic/utils.py",
    ),
    SpanRule(
        "OpenLIT, with Bedrock",
        begins="openlit.instrumentation.bedrock",
        providers=(),
        without=None,
        excludes=True,
        is_fixed=True,
        source="https://github.com/openlit/openlit/blob/main/sdk/python/src/openlit/instrumentation/bedrock/utils.py",
    ),
    SpanRule(
        "OpenInference for JavaScript, with Bedrock",
        begins="@arizeai/openinference-instrumentation-bedrock",
        providers=(),
        without=None,
        excludes=True,
        is_fixed=False,
        source="https://github.com/Arize-ai/openinference/blob/main/js/packages/openinference-instrumentation-bedrock/src/attributes/invoke-model-response-attributes.ts",
    ),
    SpanRule(
        "OpenTelemetry's GenAI conventions, OpenInference, OpenLLMetry, Strands Agents, Vercel AI SDK, and others",
        begins="",
        providers=(),
        without=None,
        excludes=False,
        is_fixed=False,
        source="https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/gen-ai-spans.md",
    ),
)
"""Programs that make spans, specific ones first."""


class _Plan(NamedTuple):
    """A rule, reduced to the paths that start at keys present in a model's usage."""

    rule: Rule
    marks: tuple[_Path, ...]
    also: tuple[_Path, ...]
    without: tuple[_Path, ...]
    counts: tuple[tuple[str, tuple[_Path, ...]], ...]
    costs: tuple[_Path, ...]

    def fits(self, usage: dict[str, Any]) -> bool:
        """Return True if the rule fits a model's usage."""
        rule = self.rule
        return (
            (not rule.marks or _has_one(usage, self.marks))
            and (not rule.also or any(whole_count(_at(usage, path)) for path in self.also))
            and not _has_one(usage, self.without)
        )

    def found_counts(self, usage: dict[str, Any]) -> dict[str, int]:
        """Return the non-zero counts of a model's usage, by their names in `Rule.keys`."""
        counts: dict[str, int] = {}
        for name, paths in self.counts:
            for path in paths:
                if count := whole_count(_at(usage, path)):
                    counts[name] = count
                    break
        return counts

    def found_cost(self, usage: dict[str, Any]) -> float | None:
        """Return the cost in US dollars that the sender states; None if there is none."""
        cost = first_cost(cost_in_usd(_at(usage, path)) for path in self.costs)
        return None if cost is None else cost / self.rule.cost_divisor


_MEMBERS: Final = frozenset(
    path.partition(".")[0]
    for rule in RULES
    for paths in (rule.marks, rule.also, rule.without, *rule.keys.values())
    for path in paths
)
"""First keys of all paths in rules."""


@lru_cache(1024)
def _plans(members: frozenset[str]) -> tuple[_Plan, ...]:
    """Return the rules that may fit a usage with these `_MEMBERS`. Cached, because senders use few sets of keys."""

    def steps(paths: Iterable[str]) -> tuple[_Path, ...]:
        split_paths = (tuple(path.split(".")) for path in paths)
        return tuple(path for path in split_paths if path[0] in members)

    plans = []
    for rule in RULES:
        counts = {name: steps(paths) for name, paths in rule.keys.items()}
        costs = counts.pop(STATED_COST, ())
        plan = _Plan(
            rule,
            steps(rule.marks),
            steps(rule.also),
            steps(rule.without),
            tuple((name, paths) for name, paths in counts.items() if paths),
            costs,
        )
        if bool(plan.marks) == bool(rule.marks) and bool(plan.also) == bool(rule.also):
            plans.append(plan)
    return tuple(plans)


def rule_of(usage: dict[str, Any]) -> Rule:
    """Return the rule for the format of a model's usage."""
    return _plan_of(usage).rule


def _plan_of(usage: dict[str, Any]) -> _Plan:
    return next(plan for plan in _plans(_MEMBERS.intersection(usage)) if plan.fits(usage))


def span_rule_of(names: Iterable[str], provider: str, counts: Mapping[str, int]) -> SpanRule:
    """Return the rule for a span.

    Args:
        names: names of its instrumentation scope and of the attribute that states its input.
        provider: names of its provider.
        counts: its counts.
    """
    provider_text, names = provider.lower(), tuple(names)
    return next(
        rule
        for rule in SPAN_RULES
        if any(name.startswith(rule.begins) for name in names)
        and (not rule.providers or any(part in provider_text for part in rule.providers))
        and (rule.without is None or rule.without not in counts)
    )


def split_usage(usage: dict[str, Any]) -> tuple[Split, float | None]:
    """Return the counts of a model's usage in any sender's format, and the cost in US dollars that it states.

    It never raises: values that are not integers from 0 to `MOST` count as missing.
    """
    stated = usage.get(CLASS_COUNTS)
    if isinstance(stated, dict):
        return _stated_split(stated, whole_count(usage.get("total_tokens"))), cost_in_usd(usage.get("cost"))
    plan = _plan_of(usage)
    rule = plan.rule
    counts = plan.found_counts(usage)
    return split(counts, rule.input_excludes, rule.output_excludes, is_fixed=rule.is_fixed), plan.found_cost(usage)


def split(
    counts: Mapping[str, int],
    input_excludes: Iterable[str] = (),
    output_excludes: Iterable[str] = (),
    *,
    is_fixed: bool = False,
) -> Split:
    """Convert counts by the names of `Rule.keys` to consistent classes.

    Args:
        counts: integers from 0 to `MOST`.
        input_excludes: counts that `input` does not include.
        output_excludes: counts that `output` does not include.
        is_fixed: true if that is certain. Otherwise the total decides, and parts larger than the input or output are
            not included in it.
    """
    get = counts.get
    if counts.keys() <= _TOTALS.keys():  # true for most calls
        sent_in, sent_out, total = get("input", 0), get("output", 0), get("total", 0)
        both = min(sent_in + sent_out, MOST)
        return Split(sent_in, sent_out, total or both, both > 0 and not total, {})
    written_1h = get("cache_write_1h", 0)
    written = max(get("cache_write", 0), get("cache_write_5m", 0) + written_1h)
    read_audio, read_image = get("cache_read_audio", 0), get("cache_read_image", 0)
    parts = {
        "cache_read": max(get("cache_read", 0), read_audio + read_image),
        "cache_write": written,
        "audio_input": max(get("audio_input", 0) - read_audio, 0),
        "image_input": max(get("image_input", 0) - read_image, 0),
        "reasoning": get("reasoning", 0),
        "audio_output": get("audio_output", 0),
        "image_output": get("image_output", 0),
    }
    sent_in, sent_out, total = get("input", 0), get("output", 0), get("total", 0)
    beside, beside_out = get("input_beside", 0), get("output_beside", 0)
    apart_in, apart_out = _sum_of_parts(parts, input_excludes, CACHE), _sum_of_parts(parts, output_excludes, REASONING)
    prompt = sent_in + beside
    outputs = {sent_out + beside_out, sent_out + beside_out + apart_out}
    if _excludes_parts(sent_in, apart_in, total - beside, outputs, excludes=bool(input_excludes), is_fixed=is_fixed):
        prompt += apart_in
    completion = sent_out + beside_out
    if _excludes_parts(
        sent_out, apart_out, total - beside_out, {prompt}, excludes=bool(output_excludes), is_fixed=is_fixed
    ):
        completion += apart_out
    return _split_from_parts(counts, parts, prompt, completion, written_1h)


def _split_from_parts(
    counts: Mapping[str, int], parts: dict[str, int], prompt: int, completion: int, written_1h: int
) -> Split:
    get = counts.get
    audio, image, read = parts["audio_input"], parts["image_input"], parts["cache_read"]
    read_audio = get("cache_read_audio", 0)
    # If cached audio or images are counted twice, so that parts exceed the input, the excess was cached.
    twice = min(max(read + parts["cache_write"] + audio + image - prompt, 0), read - read_audio)
    of_image = min(image, twice)
    of_audio = min(audio, twice - of_image)
    inputs = {
        "cache_read": read - read_audio - of_audio,
        "cache_read_audio": read_audio + of_audio,
        "cache_write_5m": parts["cache_write"] - written_1h,
        "cache_write_1h": written_1h,
        "audio_input": audio - of_audio,
        "image_input": image - of_image,
    }
    outputs = {name: parts[name] for name in (*REASONING, *_MEDIA_OUT)}
    prompt, inputs = _clamped(prompt, inputs)
    completion, outputs = _clamped(completion, outputs)
    sent_total, both = get("total", 0), min(prompt + completion, MOST)
    is_as_sent = prompt == get("input", 0) and completion == get("output", 0)
    total = sent_total if sent_total and is_as_sent else max(sent_total, both)
    requests = {"web_searches": get("web_searches", 0)}
    classes = {name: count for name, count in (inputs | outputs | requests).items() if count}
    return Split(prompt, completion, total, total > 0 and not sent_total, classes)


def _stated_split(stated: dict[str, Any], total: int) -> Split:
    """Build the split from counts of all classes."""
    counts = {each.name: whole_count(stated.get(each.name)) for each in CLASSES}
    sides = {side: {each.name: counts[each.name] for each in CLASSES if each.side is side} for side in Side}
    prompt, inputs = _clamped(0, sides[Side.INPUT])
    completion, outputs = _clamped(0, sides[Side.OUTPUT])
    classes_by_name = inputs | outputs | sides[Side.REQUEST]
    classes = {name: count for name, count in classes_by_name.items() if count and name not in (INPUT, OUTPUT)}
    both = min(prompt + completion, MOST)
    return Split(prompt, completion, max(total, both), both > 0 and not total, classes)


def stated_classes(parts: Split) -> dict[str, int]:
    """Return the counts of all classes of a split, for `token_classes`."""
    classes = dict(parts.classes)
    for rest, side, total in ((INPUT, Side.INPUT, parts.prompt), (OUTPUT, Side.OUTPUT, parts.completion)):
        classes[rest] = total - sum(classes.get(each.name, 0) for each in CLASSES if each.side is side)
    return {each.name: classes[each.name] for each in CLASSES if classes.get(each.name)}


def whole_count(value: object) -> int:
    """Return an integer from 0 to `MOST`; 0 for any other value."""
    if type(value) is int:  # true for nearly all
        return value if 0 <= value <= MOST else 0
    if isinstance(value, float) and value == value // 1 and 0 <= value < INT64:
        return int(value)
    return 0


def cost_in_usd(value: object) -> float | None:
    """Return a stated cost; None if it is not a finite number from 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        return None
    return float(value) if value < INT64 else None


def first_cost(costs: Iterable[float | None]) -> float | None:
    """Return the first positive cost, else 0 if any is 0, because senders also write 0 if they computed none."""
    zero = None
    for cost in costs:
        if cost:
            return cost
        zero = zero if cost is None else cost
    return zero


def _sum_of_parts(parts: dict[str, int], excluded: Iterable[str], uncertain: tuple[str, ...]) -> int:
    return sum(parts[name] for name in tuple(excluded) or uncertain)


def _excludes_parts(sent: int, parts: int, total: int, others: set[int], *, excludes: bool, is_fixed: bool) -> bool:
    """Return True if a count excludes its parts, by the rule or by the total of it and one of the others."""
    if is_fixed or not parts:
        return excludes
    if parts > sent:
        return True
    with_parts, without = total - sent in others, total - sent - parts in others
    return without if with_parts != without else excludes


def _clamped(total: int, parts: dict[str, int]) -> tuple[int, dict[str, int]]:
    """Return the total, raised to at least the sum of its parts, and the parts, clamped to 64 bits."""
    total = min(max(total, sum(parts.values())), MOST)
    left = total
    cut: dict[str, int] = {}
    for name, count in parts.items():
        cut[name] = min(count, left)
        left -= cut[name]
    return total, cut


def _has_one(usage: dict[str, Any], paths: tuple[_Path, ...]) -> bool:
    return any(_at(usage, path) is not None for path in paths)


def _at(usage: dict[str, Any], path: _Path) -> object:
    """Return the value at a path; None if it does not exist."""
    value: object = usage.get(path[0])
    for step in path[1:]:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list):
            value = _in_list(value, step)
        else:
            return None
    return value


def _in_list(entries: list[object], step: str) -> int | None:
    """Sum the counts of the entries with a modality or time to live; None if there is no such entry."""
    counts = [
        sum(whole_count(entry.get(name)) for name in ("tokenCount", "token_count", "inputTokens"))
        for entry in entries
        if isinstance(entry, dict) and step in (entry.get("modality"), entry.get("ttl"))
    ]
    return min(sum(counts), MOST) if counts else None
