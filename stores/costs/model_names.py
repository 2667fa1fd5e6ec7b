"""Model names: alternative names under which a model may have a price.

Senders write one model in many ways: `gpt-4o`, `openai/gpt-4o`, `GPT-4o`, `gpt-4o-2024-11-20`. The price of a model is
that of the first of its `spellings` with a price, either the project's own or a shipped one. So:

- A name with a price of its own keeps it: the project's price first, then the shipped one.
- A project's price for one spelling never overrides a shipped price for an earlier spelling. To pay a different price,
  a project sets it for the name in its calls.
- A name that no rule maps to a price has none. No rule maps to another model, or to another seller's shipped price.

`RULES` is the complete list. Rules apply in order, each to every name found so far, so names changed by later rules
come later. Prices of a router that is not in the table (Groq, Together, Fireworks) are never those of the model's
maker.

OpenRouter bills an `:online` variant like the model, and its searches at the rate of the model's maker
(https://openrouter.ai/docs/features/web-search). Other search engines charge a fee that usage does not count, so only
the stated cost includes it. A `:free` variant has no price; see `UNPRICED`.
"""

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

from stores.costs.defaults import of_model, shipped

MAX_LENGTH: Final = 256
"""Longest name that is resolved; a longer one has a price only under exactly that name."""

_SELLERS: Final = {
    ("openai",): ("openai",),
    ("azure", "azure_openai", "azure-openai"): ("azure", "openai"),
    ("anthropic",): ("anthropic",),
    ("google", "gemini", "google_genai", "google-gla"): ("gemini", "vertex_ai"),
    ("vertex_ai", "google_vertexai", "google-vertex"): ("vertex_ai", "gemini", "anthropic"),
    ("mistralai", "mistral"): ("mistral",),
    ("cohere",): ("cohere",),
    ("deepseek",): ("deepseek",),
    ("x-ai", "xai"): ("xai",),
    ("moonshotai", "moonshot"): ("moonshot",),
    ("perplexity",): ("perplexity",),
    ("z-ai", "zai"): ("zai",),
    ("voyage", "voyageai"): ("voyage",),
    ("ai21",): ("ai21",),
}
"""Prefixes of names, and the providers whose shipped prices apply to models with such a prefix."""

_BY_PREFIX: Final = {prefix: sellers for prefixes, sellers in _SELLERS.items() for prefix in prefixes}
_DATE: Final = r"20\d{6}|20\d\d-\d\d-\d\d"
_DATED: Final = re.compile(rf"(.+)[-@]({_DATE}|latest)")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that maps a name to another name of the same model."""

    description: str
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]

    def apply(self, name: str) -> str:
        """Apply the rule; return the name unchanged if it does not match."""
        return self.pattern.sub(self.replacement, name)


def _newest(found: re.Match[str]) -> str:
    return _newest_versions().get(found[0], found[0])


_PREFIX: Final = Rule(
    "prefix of a maker or seller, as routers and frameworks write it",
    re.compile(rf"^(?:{'|'.join(map(re.escape, _BY_PREFIX))})[/:](?=.)"),
    "",
)

RULES: Final = (
    Rule("upper case", re.compile("[A-Z]+"), lambda found: found[0].lower()),
    Rule(
        "ARN of Bedrock",
        re.compile(r"^arn:aws[a-z-]*:bedrock:[^/]*:(?:inference-profile|foundation-model)/(?=.)"),
        "",
    ),
    Rule(
        "router that charges the maker's price", re.compile("^(?:openrouter|litellm_proxy|vercel_ai_gateway)/(?=.)"), ""
    ),
    Rule(
        "Gemini by Google's own API, whose prices are not always those of Vertex AI",
        re.compile(r"^(?:(?:google|google-gla|google_genai|gemini)[/:](?:models/)?|models/)(?=gemini-)"),
        "gemini/",
    ),
    Rule(
        "resource name of Google",
        re.compile(r"^(?:(?:projects/[^/]+/locations/[^/]+/)?publishers/(?:google|anthropic)/)?models/(?=.)"),
        "",
    ),
    Rule("prefix of Bedrock", re.compile("^bedrock(?:_converse)?[/:](?:converse/|invoke/)?(?=.)"), ""),
    Rule("variant at the price of the model itself", re.compile("(?<=.):(?:thinking|beta)$"), ""),
    Rule(
        "OpenRouter's variant with web searches: tokens and searches at the rates of the model",
        re.compile("(?<=.)(?<!:free):online$"),
        "",
    ),
    Rule("Amazon's model at a router", re.compile("^amazon/(?=nova-)"), "amazon."),
    Rule("region of Bedrock", re.compile(r"^(?:us-gov|global|apac|[a-z]{2})\.(?=[a-z0-9]+\.)"), ""),
    Rule("context length of Bedrock", re.compile(r"(?<=:\d):\d+k$"), ""),
    Rule("version of Bedrock without a revision", re.compile(r"^([a-z0-9]+\.[\w.-]+-v\d+)$"), r"\1:0"),
    Rule("Claude of Vertex", re.compile(r"^(claude-[\w.-]+@\w+)$"), r"vertex_ai/\1"),
    Rule("Azure's name of GPT-3.5", re.compile("^((?:azure/)?gpt-3)5(?=-turbo)"), r"\1.5"),
    _PREFIX,
    Rule("owner and id of a fine-tuned model", re.compile("^(ft:[^:]+):.+$"), r"\1"),
    Rule("Claude of Bedrock", re.compile(r"^anthropic\.(claude-[\w.-]+?)(?:-v\d+(?::\d+)?)?$"), r"\1"),
    Rule("version of Vertex", re.compile(r"^([^@]+)@(\d+)$"), r"\1-\2"),
    Rule("version of Vertex that has no number", re.compile("(?<=.)@(?:default|latest)$"), ""),
    Rule(
        "OpenRouter's dated Claude, with the version before the family",
        re.compile(r"^claude-(\d+(?:\.\d+)?)-(opus|sonnet|haiku)(?=-|$)"),
        r"claude-\2-\1",
    ),
    Rule("dot in a version, instead of a dash", re.compile(r"(?<=\d)\.(?=\d{1,2}(?!\d))"), "-"),
    Rule("dash in a version, instead of a dot", re.compile(r"(?<=[a-z]-\d)-(?=\d(?:-|$))"), "."),
    Rule("date of a version", re.compile(rf"(?<=.)[-@](?:{_DATE}|latest)$"), ""),
    Rule("newest version of a name without a date", re.compile("^.+$"), _newest),
)
"""All rules, in the order of application."""

UNPRICED: Final = {
    ":free": "OpenRouter charges nothing for a variant that ends with :free, so the price of the model does not apply. "
    "To report its cost as 0, create a price of 0 for this name."
}
"""Suffix of a name, and why such names have no price."""


def why_unpriced(model: str) -> str | None:
    """Return why a name has no price; None if there is no specific reason."""
    ends = model.lower().removesuffix(":online")
    return next((reason for end, reason in UNPRICED.items() if ends.endswith(end)), None)


def spellings(model: str) -> dict[str, tuple[Rule, ...]]:
    """Return the names under which a model may have a price, best first, each with the rules applied."""
    return {model: ()} if len(model) > MAX_LENGTH else _spellings(model)


@lru_cache(4096)
def _spellings(model: str) -> dict[str, tuple[Rule, ...]]:
    names: dict[str, tuple[Rule, ...]] = {model: ()}
    sellers: dict[str, tuple[str, ...] | None] = {model: None}
    for rule in RULES:
        for name, applied in list(names.items()):
            other = rule.apply(name)
            if other not in names:
                names[other] = (*applied, rule)
                sellers[other] = _BY_PREFIX[re.split("[/:]", name)[0]] if rule is _PREFIX else sellers[name]
    return {name: applied for name, applied in names.items() if _is_sold_by(name, sellers[name])}


def resolve(model: str, priced: Container[str]) -> str | None:
    """Return the first spelling of a model that is in `priced`; None if there is none."""
    if model in priced:
        return model
    return next((name for name in spellings(model) if name in priced), None)


def _is_sold_by(name: str, sellers: tuple[str, ...] | None) -> bool:
    """Return True unless the shipped price of a name is another seller's."""
    return sellers is None or all(price.provider_id in sellers for price in of_model(name))


@cache
def _newest_versions() -> dict[str, str]:
    """Return the newest dated version with a shipped price for each undated name; `latest` is newer than any date."""
    newest: dict[str, tuple[str, str]] = {}
    for name in shipped():
        if match := _DATED.fullmatch(name):
            version = match[2].replace("-", ""), name
            newest[match[1]] = max(newest.get(match[1], version), version)
    return {name: version for name, (_, version) in newest.items()}
