"""Endpoint resolution: from a model's name to a known provider, or to a custom provider of the project.

Custom providers are `Provider` and `ProviderModel` objects.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from stores import refs
from stores.errors import NotFoundError, ObjectDeletedError
from stores.objects import ObjectsStore
from stores.objects.classes import Provider, ProviderModel, without_type_marks
from stores.objects.documents import LATEST, MAX_OBJECT_ID
from stores.paging import JsonField
from stores.providers import Endpoint, ProviderError, Providers

OPENAI: Final = "openai"
COREWEAVE: Final = "coreweave"

_GPT: Final = "gpt- chatgpt- o1 o3 o4 dall-e-"
_MISTRAL: Final = "mistral- ministral- magistral- codestral- devstral- pixtral- open-mistral-"
_GEMINI_URL: Final = "https://generativelanguage.googleapis.com/v1beta/openai"

_PROVIDERS: Final = (
    (OPENAI, "https://api.openai.com/v1", "OPENAI_API_KEY", _GPT),
    ("anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", "claude-"),
    ("gemini", _GEMINI_URL, "GEMINI_API_KEY GOOGLE_API_KEY", "gemini-"),
    ("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", _MISTRAL),
    ("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", "deepseek-"),
    ("xai", "https://api.x.ai/v1", "XAI_API_KEY", "grok-"),
    ("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", ""),
    ("together_ai", "https://api.together.xyz/v1", "TOGETHER_API_KEY TOGETHERAI_API_KEY", ""),
    ("fireworks_ai", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY FIREWORKS_AI_API_KEY", ""),
    ("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", ""),
    ("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY PERPLEXITYAI_API_KEY", "sonar"),
    ("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", ""),
    (COREWEAVE, "https://api.inference.wandb.ai/v1", "WANDB_API_KEY", ""),
)
_NO_STREAM_OPTIONS: Final = ("mistral", "perplexity")

_PREFIX: Final = "custom::"
_API_KEY: Final = "api_key"
_SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "api-key", "x-api-key"})
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")

_Class = TypeVar("_Class", bound=BaseModel)


class KnownProvider(NamedTuple):
    """A provider with an OpenAI-compatible API, at the base URL that it documents for OpenAI's client library.

    `secrets` are environment variables of its API key, the usual one first. `model_prefixes` identify models that may
    be named without the provider. `takes_stream_options` is False for providers that reject `stream_options`; their
    streams report usage without it.
    """

    name: str
    base_url: str
    secrets: tuple[str, ...]
    model_prefixes: tuple[str, ...]
    takes_stream_options: bool


KNOWN_PROVIDERS: Final = {
    name: KnownProvider(name, url, tuple(secrets.split()), tuple(prefixes.split()), name not in _NO_STREAM_OPTIONS)
    for name, url, secrets, prefixes in _PROVIDERS
}


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """The endpoint of a model, and the model's name there."""

    endpoint: Endpoint
    model: str
    takes_stream_options: bool = True


class EndpointResolver:
    """Resolves model names to endpoints."""

    def __init__(self, objects: ObjectsStore, providers: Providers) -> None:
        self._objects = objects
        self._providers = providers

    async def resolve(self, project_id: str, model: str, headers: Mapping[str, str] | None = None) -> ResolvedModel:
        """Resolve a model to its endpoint; `headers` of the caller may include an API key.

        A model is named `<provider>/<model>`, or for some providers `<model>`. A custom provider's is
        `custom::<provider>::<model>` or the ref of its `ProviderModel`. If the server sets a base URL for OpenAI, every
        other name is a model there.

        Raises:
            ProviderError: the model is unknown, its object cannot be used, or its API key is missing.
        """
        headers = headers or {}
        if model.startswith(_PREFIX):
            provider, _, name = model.removeprefix(_PREFIX).partition("::")
            if not (provider and name):
                raise ProviderError(f"{model[:200]!r} is not a model name: use {_PREFIX}<provider>::<model>.")
            provider = _object_name(provider)
            object_id = f"{provider}-{_object_name(name)}"[:MAX_OBJECT_ID]
            return await self._custom(project_id, (object_id, LATEST), provider, name, headers)
        if model.startswith(refs.SCHEME):
            ref = refs.parse(model) if refs.is_ref(model) else None
            if ref is None or ref.project_id != project_id or ref.kind != "object" or ref.steps:
                raise ProviderError(f"{model[:300]} is not the ref of a ProviderModel in this project.")
            return await self._custom(project_id, (ref.name, ref.version or LATEST), ref.name, ref.name, headers)
        known, name = self._known(model)
        return ResolvedModel(self._endpoint(known, headers), name, known.takes_stream_options)

    async def _custom(
        self, project_id: str, version: tuple[str, str], provider_id: str, name: str, headers: Mapping[str, str]
    ) -> ResolvedModel:
        """Resolve a `ProviderModel`; `provider_id` and `name` apply if it names neither."""
        model = await self._object(ProviderModel, project_id, *version)
        digest = model.provider
        if refs.is_ref(digest):
            ref = refs.parse(digest)
            provider_id, digest = ref.name, ref.version or LATEST
        provider = await self._object(Provider, project_id, provider_id, digest)
        for header in provider.extra_headers:
            if header.lower() in _SECRET_HEADERS:
                raise ProviderError(
                    f"Provider {provider_id} has {header[:64]!r} in extra_headers, which all project readers see. "
                    "Remove it and set api_key_name."
                )
        secret = None
        if provider.api_key_name and not _has_api_key(headers):
            secret = self._providers.secret_at(provider.api_key_name, provider.base_url)
            if secret is None:
                raise ProviderError(
                    f"Provider {provider_id} needs the secret {provider.api_key_name[:128]}; set it in the server's "
                    "environment."
                )
        endpoint = Endpoint(
            base_url=provider.base_url,
            api_key=secret,
            headers=provider.extra_headers,
            is_custom=True,
            provider=provider_id,
            api_key_name=provider.api_key_name or None,
        )
        return ResolvedModel(_with_headers(endpoint, headers), model.name or name)

    async def _object(self, kind: type[_Class], project_id: str, object_id: str, version: str) -> _Class:
        """Read an object of a builtin class.

        Raises:
            ProviderError: it does not exist or has another class.
        """
        try:
            row = await self._objects.one(project_id, object_id, version, ["val"], "object")
        except (NotFoundError, ObjectDeletedError) as error:
            raise ProviderError(
                f"{error.message}; a {kind.__name__} of this project is needed. Create it with objCreate and "
                f'builtinObjectClass: "{kind.__name__}".'
            ) from None
        try:
            return kind.model_validate(without_type_marks(JsonField("val").value(row)))
        except ValidationError:
            raise ProviderError(f"Object {object_id}:{version} is not a {kind.__name__}.") from None

    def _known(self, model: str) -> tuple[KnownProvider, str]:
        prefix, separator, rest = model.partition("/")
        if separator and rest and prefix in KNOWN_PROVIDERS:
            return KNOWN_PROVIDERS[prefix], rest
        openai = KNOWN_PROVIDERS[OPENAI]
        if self._providers.base_url(OPENAI):
            return openai, model
        by_prefix = (known for known in KNOWN_PROVIDERS.values() if model.startswith(known.model_prefixes))
        provider = None if separator else next(by_prefix, None)
        if provider is None:
            raise ProviderError(
                f"There is no model {model[:200]!r}. Prefix it with a provider, as in openai/gpt-4o; the known ones "
                f"are {', '.join(KNOWN_PROVIDERS)}. For others, create a Provider and a ProviderModel with objCreate, "
                f"and use {_PREFIX}<provider>::<model>."
            )
        return provider, model

    def _endpoint(self, provider: KnownProvider, headers: Mapping[str, str]) -> Endpoint:
        base_url = self._providers.base_url(provider.name)
        secrets = [secret for name in provider.secrets if (secret := self._providers.secret(name))]
        endpoint = Endpoint(
            base_url=base_url or provider.base_url,
            api_key=secrets[0] if secrets else None,
            provider=provider.name,
            api_key_name=provider.secrets[0],
        )
        endpoint = _with_headers(endpoint, headers)
        # A server that sets a base URL may use models that need no API key.
        if not (endpoint.api_key or base_url or _has_api_key(headers)):
            names = " or ".join(provider.secrets)
            raise ProviderError(
                f"The API key of {provider.name} is missing: set {names} in the server's environment."
                + (f' Or send your own in extraHeaders: {{"{_API_KEY}": "…"}}.' if provider.name == COREWEAVE else "")
            )
        return endpoint


def _with_headers(endpoint: Endpoint, headers: Mapping[str, str]) -> Endpoint:
    """Add the caller's headers to an endpoint; an `api_key` among them replaces the server's API key."""
    extra = {name: value for name, value in headers.items() if name.lower() != _API_KEY}
    key = next((value for name, value in headers.items() if name.lower() == _API_KEY), None)
    merged = {**endpoint.headers, **extra}
    if not _has_api_key(headers):
        return replace(endpoint, headers=merged)
    return replace(endpoint, headers=merged, api_key=key, api_key_name=None)


def _has_api_key(headers: Mapping[str, str]) -> bool:
    """Return True if the caller sends an API key."""
    return any(header.lower() in ("authorization", _API_KEY) for header in headers)


def _object_name(text: str) -> str:
    """Replace the characters that Weave does not allow in object names."""
    return _NOT_IN_NAMES.sub("_", text)
