"""Where a model is reached: what its name says, and what the project's objects say of custom providers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from stores import refs
from stores.completions.custom_providers import PREFIX, CustomProviders
from stores.completions.known_providers import COREWEAVE, KNOWN_PROVIDERS, OPENAI, KnownProvider, provider_of
from stores.objects import ObjectsStore
from stores.providers import Endpoint, ProviderError, Providers

_API_KEY: Final = "api_key"
_KEYS: Final = ("authorization", _API_KEY)


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a model is reached, and how it is called there."""

    endpoint: Endpoint
    model: str
    takes_stream_options: bool = True


class Endpoints:
    """Finds where models are reached."""

    def __init__(self, objects: ObjectsStore, providers: Providers) -> None:
        self._providers = providers
        self._custom = CustomProviders(objects, providers)

    async def reach(self, project_id: str, model: str, headers: Mapping[str, str] | None = None) -> Reached:
        """Where a model is reached; with headers of whoever asks, among which may be a key of theirs.

        A model is named `<provider>/<model>` or, of some providers, by its own name alone; one of a custom provider is
        `custom::<provider>::<model>`, or the ref of its `ProviderModel`. Where the server has a base URL in place of
        OpenAI's, all other names are taken to be those of models there.

        Raises:
            ProviderError: there is no such model, or its key is missing.
        """
        headers = headers or {}
        if model.startswith((PREFIX, refs.SCHEME)):
            find = self._custom.named if model.startswith(PREFIX) else self._custom.at
            custom = await find(project_id, model, wants_key=not _has_key(headers))
            return Reached(_with_headers(custom.endpoint, headers), custom.model)
        provider, name = self._known(model)
        return Reached(self._endpoint(provider, headers), name, provider.takes_stream_options)

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
                f"There is no model {model[:200]!r}. Name its provider before it, as in openai/gpt-4o; the known ones "
                f"are {', '.join(KNOWN_PROVIDERS)}. Of others, create a Provider and a ProviderModel by objCreate, and "
                f"write {PREFIX}<provider>::<model>."
            )
        return provider, model

    def _endpoint(self, provider: KnownProvider, headers: Mapping[str, str]) -> Endpoint:
        base_url = self._providers.base_url(provider.name)
        found = [secret for name in provider.secrets if (secret := self._providers.secret(name))]
        endpoint = Endpoint(
            base_url=base_url or provider.base_url,
            api_key=found[0] if found else None,
            provider=provider.name,
            api_key_name=provider.secrets[0],
        )
        endpoint = _with_headers(endpoint, headers)
        # A base URL of the server's own may be of models that want no key.
        if not (endpoint.api_key or base_url or _has_key(headers)):
            names = " or ".join(provider.secrets)
            raise ProviderError(
                f"The key of {provider.name} is missing: set {names} in the server's environment."
                + (f' Or send yours as extraHeaders: {{"{_API_KEY}": "…"}}.' if provider.name == COREWEAVE else "")
            )
        return endpoint


def _with_headers(endpoint: Endpoint, headers: Mapping[str, str]) -> Endpoint:
    """An endpoint with the headers of whoever asks; `api_key` among them is their key, in place of the server's."""
    own = {name: value for name, value in headers.items() if name.lower() != _API_KEY}
    key = next((value for name, value in headers.items() if name.lower() == _API_KEY), None)
    merged = {**endpoint.headers, **own}
    if not _has_key(headers):
        return replace(endpoint, headers=merged)
    return replace(endpoint, headers=merged, api_key=key, api_key_name=None)


def _has_key(headers: Mapping[str, str]) -> bool:
    """Whether whoever asks sends a key of their own."""
    return any(header.lower() in _KEYS for header in headers)
