"""Fixtures for an images store over the test's own database, with a stand-in instead of OpenAI."""

import pytest

from app.providers import EnvironmentProviders
from stores.calls import CallsStore
from stores.completions.endpoint_resolution import EndpointResolver
from stores.database import Database
from stores.files import FilesStore
from stores.images import ImagesStore
from stores.objects import ObjectsStore


@pytest.fixture
def files(database: Database) -> FilesStore:
    return FilesStore(database)


@pytest.fixture
def images(calls: CallsStore, objects: ObjectsStore, files: FilesStore, providers: EnvironmentProviders) -> ImagesStore:
    return ImagesStore(calls, files, EndpointResolver(objects, providers), providers)
