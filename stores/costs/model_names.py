"""Model names: alternative names under which a model may have a price.

Senders write one model in many ways: `gpt-4o`, `openai/gpt-4o`, `GPT-4o`, `gpt-4o-2024-11-20`. The price of a model is
that of the first of its `spellings` with a price, either the project's own or a shipped one. So:

- A name with a price of its own keeps it: the project's price first, then the shipped one.
- A project's price for one spelling never overrides a shipped price for an earlier spelling. To pay a different price,
  a project sets it for the name in its calls.
- A name that no rule maps to a price has none. No rule maps to another model, or to another seller's shipped price.

`model_names.toml` is the complete list. Rules apply in order, each to every name found so far, so names changed by
later rules come later. Prices of a router that is not in the table (Groq, Together, Fireworks) are never those of the
model's maker.

OpenRouter bills an `:online` variant like the model, and its searches at the rate of the model's maker
(https://openrouter.ai/docs/features/web-search). Other search engines charge a fee that usage does not count, so only
the stated cost includes it. A `:free` variant has no price; see `UNPRICED`.
"""

import re
import tomllib
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import blake2b
from importlib.resources import files
from typing import Final

from stores.costs.defaults import FILE, of_model, shipped

MAX_LENGTH: Final = 256
"""Longest name that is resolved; a longer one has a price only under exactly that name."""

_TEXT: Final = (files("stores.costs") / "model_names.toml").read_text("utf-8")
_TABLE: Final = tomllib.loads(_TEXT)

RULES_VERSION: Final = blake2b(_TEXT.encode() + (files("stores.costs") / FILE).read_bytes(), digest_size=8).hexdigest()
"""Digest of the rules and the shipped prices."""

_BY_PREFIX: Final = {
    prefix: tuple(seller["providers"]) for seller in _TABLE["sellers"] for prefix in seller["prefixes"]
}
"""For each prefix of names, the providers whose shipped prices apply to models with that prefix."""

_DATE: Final = r"20\d{6}|20\d\d-\d\d-\d\d"
_DATED: Final = re.compile(rf"(.+)[-@]({_DATE}|latest)")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that maps a name to another name of the same model."""

    description: str
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]
    removes_seller: bool

    def apply(self, name: str) -> str:
        """Apply the rule; return the name unchanged if it does not match."""
        return self.pattern.sub(self.replacement, name)


def _newest(found: re.Match[str]) -> str:
    return _newest_versions().get(found[0], found[0])


_FUNCTIONS: Final[dict[str, Callable[[re.Match[str]], str]]] = {
    "LOWER": lambda found: found[0].lower(),
    "NEWEST": _newest,
}


def _rule(description: str, pattern: str, replacement: str = "") -> Rule:
    """Build a rule of the table."""
    prefixes = "|".join(map(re.escape, _BY_PREFIX))
    compiled = re.compile(pattern.replace("PREFIX", prefixes).replace("DATE", _DATE))
    return Rule(description, compiled, _FUNCTIONS.get(replacement, replacement), "PREFIX" in pattern)


RULES: Final = tuple(_rule(**row) for row in _TABLE["rules"])
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
                sellers[other] = _BY_PREFIX[re.split("[/:]", name)[0]] if rule.removes_seller else sellers[name]
    # The shipped price of a name must not be another seller's.
    return {
        name: applied
        for name, applied in names.items()
        if (allowed := sellers[name]) is None or all(price.provider_id in allowed for price in of_model(name))
    }


def resolve(model: str, priced: Container[str]) -> str | None:
    """Return the first spelling of a model that is in `priced`; None if there is none."""
    if model in priced:
        return model
    return next((name for name in spellings(model) if name in priced), None)


@lru_cache(10_000)
def tier_bounds(model: str) -> tuple[int, ...]:
    """Return the numbers of prompt tokens above which a shipped price of a model has other rates, ascending."""
    name = resolve(model, shipped())
    prices = of_model(name) if name else ()
    return tuple(sorted({above for price in prices for above, _ in price.tiers}))


@cache
def _newest_versions() -> dict[str, str]:
    """Return the newest dated version with a shipped price for each undated name; `latest` is newer than any date."""
    newest: dict[str, tuple[str, str]] = {}
    for name in shipped():
        if match := _DATED.fullmatch(name):
            version = match[2].replace("-", ""), name
            newest[match[1]] = max(newest.get(match[1], version), version)
    return {name: version for name, (_, version) in newest.items()}
