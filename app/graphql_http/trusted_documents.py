"""Trusted documents: GraphQL documents that the operator lists, and that clients request by hash.

Clients cannot register documents, unlike Apollo's automatic persisted queries: those save bytes but add no trust.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from stores.errors import BadInputError, StoreError
from stores.json import codec

_APOLLO: Final = "apollo-persisted-query-manifest"


class UnknownDocumentError(StoreError):
    """A client requests a document that is not a trusted one."""

    code = "PERSISTED_QUERY_NOT_FOUND"


class UntrustedDocumentError(StoreError):
    """A client sends its own document, but only trusted ones may run."""

    code = "FORBIDDEN"


class TrustedDocuments:
    """The trusted documents by hash; without any, an own document runs whatever hash comes with it.

    Args:
        documents: each by the key in the manifest; the SHA-256 of the text is accepted, too.
        is_strict: True if no other documents may run.
    """

    def __init__(self, documents: Mapping[str, str] = MappingProxyType({}), *, is_strict: bool = False) -> None:
        by_digest = {hashlib.sha256(text.encode()).hexdigest(): text for text in documents.values()}
        self._documents = {**by_digest, **documents}
        self._texts = frozenset(documents.values())
        self.is_strict = is_strict
        self.has_rules: Final = bool(documents) or is_strict
        """False if any document of a client may run."""

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._texts)

    @classmethod
    def of(cls, *paths: Path | None, is_strict: bool) -> "TrustedDocuments":
        """Load manifests or folders; there are no documents if each path is None.

        Raises:
            ValueError: the documents cannot be read; the message says what to change.
        """
        documents: dict[str, str] = {}
        for path in paths:
            documents |= read_documents(path) if path else {}
        if is_strict and not documents:
            raise ValueError(
                "LOOMQL_ONLY_TRUSTED_DOCUMENTS is set, but LOOMQL_TRUSTED_DOCUMENTS is not: no document could run"
            )
        return cls(documents, is_strict=is_strict)

    def text_of(self, parameters: Mapping[str, Any]) -> str | None:
        """Return the requested trusted document; None if the parameters have their own document, which may run.

        Raises:
            UnknownDocumentError: the requested document is unknown.
            UntrustedDocumentError: the own document may not run, or is not the requested one.
        """
        own = parameters.get("query") or None
        requested = asked_for(parameters)
        if requested is None:
            # A query of another type is refused later, with a better message.
            if self.is_strict and isinstance(own, str) and own not in self._texts:
                raise UntrustedDocumentError(
                    "this server runs only trusted documents (LOOMQL_ONLY_TRUSTED_DOCUMENTS); send a documentId",
                    "query",
                )
            return None
        text = self._documents.get(requested.removeprefix("sha256:"))
        if text is None and own is not None and not self.is_strict:
            return None  # Apollo clients send both to register the document
        if text is None:
            raise UnknownDocumentError(
                f"PersistedQueryNotFound: no trusted document has the hash {requested[:100]!r}; add it to "
                "the manifest in LOOMQL_TRUSTED_DOCUMENTS on the server, and restart it"
            )
        if own is not None and own != text:
            raise UntrustedDocumentError(
                "the query differs from the trusted document with this hash; send only the hash",
                "query",
            )
        return text


def asks_for_none(parameters: Mapping[str, Any]) -> bool:
    """Return True if the parameters contain no hash, not even an invalid one."""
    return parameters.get("documentId") is None and "persistedQuery" not in (parameters.get("extensions") or {})


def asked_for(parameters: Mapping[str, Any]) -> str | None:
    """Return the hash that a request's parameters contain; None if there is none.

    Raises:
        BadInputError: the hash is not a string.
    """
    requested = parameters.get("documentId")
    if requested is None:
        extensions = parameters.get("extensions")
        persisted = extensions.get("persistedQuery") if isinstance(extensions, Mapping) else None
        if persisted is None:
            return None
        requested = persisted.get("sha256Hash") if isinstance(persisted, Mapping) else persisted
        if not isinstance(requested, str) or not requested:
            raise BadInputError(
                'must be an object with the hash, such as {"sha256Hash": "…"}', "extensions.persistedQuery"
            )
    if not isinstance(requested, str) or not requested:
        raise BadInputError("must be a string, the hash of a trusted document", "document_id")
    return requested


def read_documents(path: Path) -> dict[str, str]:
    """Read the documents of a manifest, or of all manifests and .graphql files of a folder, by hash.

    Raises:
        ValueError: the path does not exist, or a manifest is malformed.
    """
    if not path.exists():
        raise ValueError(f"LOOMQL_TRUSTED_DOCUMENTS: {path} does not exist")
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    documents: dict[str, str] = {}
    for file in files:
        for name, text in _documents_of(file):
            if documents.setdefault(name, text) != text:
                raise ValueError(
                    f"LOOMQL_TRUSTED_DOCUMENTS: {file} has another document for {name[:100]} than an earlier file"
                )
    if not documents:
        raise ValueError(f"LOOMQL_TRUSTED_DOCUMENTS: {path} contains no documents")
    return documents


def _documents_of(file: Path) -> Iterator[tuple[str, str]]:
    if file.suffix in {".graphql", ".gql"}:
        text = file.read_text()
        yield hashlib.sha256(text.encode()).hexdigest(), text
    elif file.suffix == ".json":
        yield from _entries(file, file.read_bytes())


def _entries(file: Path, content: bytes) -> Iterator[tuple[str, str]]:
    try:
        manifest = codec.loads(content)
    except BadInputError as error:
        raise ValueError(f"LOOMQL_TRUSTED_DOCUMENTS: {file} is {error.message}") from error
    match manifest:
        case {"format": format_name, "operations": list(operations)} if format_name == _APOLLO:
            objects = [operation if isinstance(operation, dict) else {} for operation in operations]
            pairs = [(each.get("id"), each.get("body")) for each in objects]
        case dict():
            pairs = list(manifest.items())
        case _:
            pairs = [(None, None)]
    for name, text in pairs:
        if not (isinstance(name, str) and isinstance(text, str)):
            raise ValueError(  # noqa: TRY004 -- the content of a file is wrong, not an argument's type
                f"LOOMQL_TRUSTED_DOCUMENTS: {file} is not a manifest; write that of graphql-codegen and Relay, "
                f'{{"hash": "document"}}, or that of Apollo, {{"format": "{_APOLLO}", "operations": […]}}'
            )
        yield name, text
