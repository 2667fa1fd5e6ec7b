"""Endpoint resolution: from a model's name to a known provider, or to a custom provider of the project."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from stores import refs
from stores.completions.custom_providers import PREFIX, CustomProviders
from stores.completions.known_providers import COREWEAVE, KNOWN_PROVIDERS, OPENAI, KnownProvider, provider_of
from stores.objects import ObjectsStore
from stores.providers import Endpoint, ProviderError, Providers

_API_KEY: Final = "api_key"
_API_KEY_HEADERS: Final = ("authorization", _API_KEY)


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """The endpoint of a model, and the model's name there."""

    endpoint: Endpoint
    model: str
    takes_stream_options: bool = True


class EndpointResolver:
    """Resolves model names to endpoints."""

    def __init__(self, objects: ObjectsStore, providers: Providers) -> None:
        self._providers = providers
        self._custom = CustomProviders(objects, providers)

    async def resolve(self, project_id: str, model: str, headers: Mapping[str, str] | None = None) -> ResolvedModel:
        """Resolve a model to its endpoint; `headers` of the caller may include an API key.

        A model is named `<provider>/<model>`, or for some providers `<model>`. A custom provider's is
        `custom::<provider>::<model>` or the ref of its `ProviderModel`. If the server sets a base URL for OpenAI, every
        other name is a model there.

        Raises:
            ProviderError: the model is unknown, or its API key is missing.
        """
        headers = headers or {}
        if model.startswith((PREFIX, refs.SCHEME)):
            find = self._custom.find_by_name if model.startswith(PREFIX) else self._custom.find_by_ref
            custom = await find(project_id, model, wants_key=not _has_api_key(headers))
            return ResolvedModel(_with_headers(custom.endpoint, headers), custom.model)
        provider, name = self._known(model)
        return ResolvedModel(self._endpoint(provider, headers), name, provider.takes_stream_options)

    def _known(self, model: str) -> tuple[KnownProvider, str]:
        prefix, separator, rest = model.partition("/")
        if separator and rest and prefix in KNOWN_PROVIDERS:
            return KNOWN_PROVIDERS[prefix], rest
        openai = KNOWN_PROVIDERS[OPENAI]
        if self._providers.base_url(OPENAI):
            return openai, model
        provider = None if separator else provider_of(model)
        if provider is None:
            raise ProviderError(
                f"There is no model {model[:200]!r}. Prefix it with a provider, as in openai/gpt-4o; the known ones "
                f"are {', '.join(KNOWN_PROVIDERS)}. For others, create a Provider and a ProviderModel with objCreate, "
                f"and use {PREFIX}<provider>::<model>."
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
    return any(header.lower() in _API_KEY_HEADERS for header in headers)
