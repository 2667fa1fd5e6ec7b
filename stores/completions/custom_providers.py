"""Custom providers: `Provider` and `ProviderModel` objects of a project."""

import re
from typing import Final, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from stores import refs
from stores.errors import NotFoundError, ObjectDeletedError
from stores.json import AnyJson
from stores.objects import ObjectsStore
from stores.objects.builtin import Provider, ProviderModel
from stores.objects.documents import LATEST
from stores.objects.inputs import MAX_OBJECT_ID
from stores.providers import Endpoint, ProviderError, Providers
from stores.row_fields import JsonField

PREFIX: Final = "custom::"

_VAL: Final = JsonField("val")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")
_TYPE_MARKS: Final = ("_type", "_class_name", "_bases")
_SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "api-key", "x-api-key"})

_Class = TypeVar("_Class", bound=BaseModel)


class CustomModel(NamedTuple):
    """A custom provider's model: its endpoint, and its name there."""

    endpoint: Endpoint
    model: str


class CustomProviders:
    """Finds the custom providers of projects."""

    def __init__(self, objects: ObjectsStore, providers: Providers) -> None:
        self._objects = objects
        self._providers = providers

    async def find_by_name(self, project_id: str, model: str, *, wants_key: bool = True) -> CustomModel:
        """Find the model named `custom::<provider>::<model>`.

        With `wants_key=False` the endpoint has no API key, because the caller sends one.

        Raises:
            ProviderError: the object does not exist or cannot be used.
        """
        provider, separator, name = model.removeprefix(PREFIX).partition("::")
        if not (provider and separator and name):
            raise ProviderError(f"{model[:200]!r} is not a model name: use {PREFIX}<provider>::<model>.")
        object_id = f"{_object_name(provider)}-{_object_name(name)}"[:MAX_OBJECT_ID]
        provider_model = await self._object(ProviderModel, project_id, object_id, LATEST)
        return await self._resolve(project_id, provider_model, _object_name(provider), name, wants_key=wants_key)

    async def find_by_ref(self, project_id: str, ref_text: str, *, wants_key: bool = True) -> CustomModel:
        """Find the model of the `ProviderModel` object that a ref leads to.

        With `wants_key=False` the endpoint has no API key, because the caller sends one.

        Raises:
            ProviderError: the ref leads to no such object, or the object cannot be used.
        """
        ref = refs.parse(ref_text) if refs.is_ref(ref_text) else None
        if ref is None or ref.project_id != project_id or ref.kind != "object" or ref.steps:
            raise ProviderError(f"{ref_text[:300]} is not the ref of a ProviderModel in this project.")
        provider_model = await self._object(ProviderModel, project_id, ref.name, ref.version or LATEST)
        return await self._resolve(
            project_id, provider_model, ref.name, provider_model.name or ref.name, wants_key=wants_key
        )

    async def _resolve(
        self, project_id: str, model: ProviderModel, object_id: str, name: str, *, wants_key: bool
    ) -> CustomModel:
        digest = model.provider
        if refs.is_ref(digest):
            ref = refs.parse(digest)
            object_id, digest = ref.name, ref.version or LATEST
        provider = await self._object(Provider, project_id, object_id, digest)
        return CustomModel(self._endpoint(provider, object_id, wants_key=wants_key), model.name or name)

    def _endpoint(self, provider: Provider, object_id: str, *, wants_key: bool) -> Endpoint:
        for header in provider.extra_headers:
            if header.lower() in _SECRET_HEADERS:
                raise ProviderError(
                    f"Provider {object_id} has {header[:64]!r} in extra_headers, which all project readers see. "
                    "Remove it and set api_key_name."
                )
        return Endpoint(
            base_url=provider.base_url,
            api_key=self._secret(provider, object_id) if wants_key and provider.api_key_name else None,
            headers=provider.extra_headers,
            is_custom=True,
            provider=object_id,
            api_key_name=provider.api_key_name or None,
        )

    def _secret(self, provider: Provider, object_id: str) -> str:
        secret = self._providers.secret_at(provider.api_key_name, provider.base_url)
        if secret is None:
            raise ProviderError(
                f"Provider {object_id} needs the secret {provider.api_key_name[:128]}; set it in the server's "
                "environment."
            )
        return secret

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
            return kind.model_validate(_without_type_marks(_VAL.value(row)))
        except ValidationError:
            raise ProviderError(f"Object {object_id}:{version} is not a {kind.__name__}.") from None


def _without_type_marks(value: AnyJson) -> AnyJson:
    return (
        {name: inner for name, inner in value.items() if name not in _TYPE_MARKS} if isinstance(value, dict) else value
    )


def _object_name(text: str) -> str:
    """Replace the characters that Weave does not allow in object names."""
    return _NOT_IN_NAMES.sub("_", text)
