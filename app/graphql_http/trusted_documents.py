"""Trusted documents: GraphQL documents that whoever runs the server has named, which clients ask for by their hash.

What clients register by themselves, as with Apollo's automatic persisted queries, saves bytes but is nothing to trust:
here nothing is registered.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from stores.errors import BadInputError, StoreError
from stores.json import codec

NOT_FOUND: Final = "PERSISTED_QUERY_NOT_FOUND"
_SHA256: Final = "sha256:"
_APOLLO: Final = "apollo-persisted-query-manifest"


class UnknownDocumentError(StoreError):
    """A client asks for a document that is none of those that are trusted."""

    code = NOT_FOUND


class UntrustedDocumentError(StoreError):
    """A client sends a document of its own, where only trusted ones run."""

    code = "FORBIDDEN"


class TrustedDocuments:
    """The documents, by what clients call them.

    Args:
        documents: each by its hash, whatever made that; SHA-256 of the text names it, too.
        is_strict: whether no others run.
    """

    def __init__(self, documents: Mapping[str, str], *, is_strict: bool) -> None:
        by_digest = {hashlib.sha256(text.encode()).hexdigest(): text for text in documents.values()}
        self._documents = {**by_digest, **documents}
        self._texts = frozenset(documents.values())
        self.is_strict = is_strict

    def __len__(self) -> int:
        """How many there are."""
        return len(self._texts)

    @classmethod
    def of(cls, path: Path | None, *, is_strict: bool) -> "TrustedDocuments | None":
        """Those of a manifest or a folder; None where none is named and any document runs.

        Raises:
            ValueError: they cannot be read; the message says what to change.
        """
        if path is None:
            if is_strict:
                raise ValueError(
                    "LOOMQL_ONLY_TRUSTED_DOCUMENTS is set, but LOOMQL_TRUSTED_DOCUMENTS names none: nothing would run"
                )
            return None
        return cls(read_documents(path), is_strict=is_strict)

    def text_of(self, parameters: Mapping[str, Any]) -> str | None:
        """The document that a request's parameters ask for; None where they have one of their own, which may run.

        Raises:
            UnknownDocumentError: they ask for one that is not there.
            UntrustedDocumentError: they have one of their own that may not run, or is not the one that they ask for.
        """
        asked, own = asked_for(parameters), parameters.get("query") or None
        if asked is None:
            self._check(own)
            return None
        text = self._documents.get(asked.removeprefix(_SHA256))
        if text is None and own is not None and not self.is_strict:
            return None  # as a client sends it that would register it
        if text is None:
            raise UnknownDocumentError(
                f"PersistedQueryNotFound: no document {asked[:100]!r} is trusted here; add it to the manifest that "
                "LOOMQL_TRUSTED_DOCUMENTS names on the server, and start that anew"
            )
        if own is not None and own != text:
            raise UntrustedDocumentError(
                "the query is not the one that its hash names; leave it out, since what is run is the trusted one",
                "query",
            )
        return text

    def _check(self, own: object) -> None:
        # What is no string names no document, and is refused as that.
        if self.is_strict and isinstance(own, str) and own not in self._texts:
            raise UntrustedDocumentError(
                "only trusted documents run here (LOOMQL_ONLY_TRUSTED_DOCUMENTS); ask for one by documentId", "query"
            )


_NONE: Final = TrustedDocuments({}, is_strict=False)


def trusted_text(parameters: Mapping[str, Any], trusted: TrustedDocuments | None) -> str | None:
    """The trusted document that a request's parameters ask for; None where they have one of their own, which may run.

    Where no documents are trusted, one that comes along is run whatever hash is beside it.

    Raises:
        StoreError: as `TrustedDocuments.text_of` does.
    """
    if trusted is None and parameters.get("query"):
        return None
    return (_NONE if trusted is None else trusted).text_of(parameters)


def asks_for_none(parameters: Mapping[str, Any]) -> bool:
    """Whether a request's parameters do not ask for a document by a hash, be it a wrong one."""
    return parameters.get("documentId") is None and "persistedQuery" not in (parameters.get("extensions") or {})


def asked_for(parameters: Mapping[str, Any]) -> str | None:
    """The hash by which a request's parameters ask for a document; None where they do not.

    Raises:
        BadInputError: it is no string.
    """
    asked = parameters.get("documentId")
    if asked is None:
        extensions = parameters.get("extensions")
        persisted = extensions.get("persistedQuery") if isinstance(extensions, Mapping) else None
        if persisted is None:
            return None
        asked = persisted.get("sha256Hash") if isinstance(persisted, Mapping) else persisted
        if not isinstance(asked, str) or not asked:
            raise BadInputError(
                'must be an object with the hash, such as {"sha256Hash": "…"}', "extensions.persistedQuery"
            )
    if not isinstance(asked, str) or not asked:
        raise BadInputError("must be a string, the hash of a trusted document", "document_id")
    return asked


def read_documents(path: Path) -> dict[str, str]:
    """The documents of a manifest, or of all manifests and .graphql files of a folder, by their hashes.

    Raises:
        ValueError: there is no such file, or what is in it is no manifest.
    """
    if not path.exists():
        raise ValueError(f"LOOMQL_TRUSTED_DOCUMENTS: there is no file or folder {path}")
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    documents: dict[str, str] = {}
    for file in files:
        for name, text in _documents_of(file):
            if documents.setdefault(name, text) != text:
                raise ValueError(
                    f"LOOMQL_TRUSTED_DOCUMENTS: {file} has another document under {name[:100]} than before"
                )
    if not documents:
        raise ValueError(f"LOOMQL_TRUSTED_DOCUMENTS: there are no documents in {path}")
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
    for name, text in _pairs(manifest):
        if not (isinstance(name, str) and isinstance(text, str)):
            raise ValueError(  # noqa: TRY004 -- of a file, not of an argument
                f"LOOMQL_TRUSTED_DOCUMENTS: {file} is no manifest; there are those of graphql-codegen and Relay, "
                f'{{"hash": "document"}}, and of Apollo, {{"format": "{_APOLLO}", "operations": […]}}'
            )
        yield name, text


def _pairs(manifest: object) -> Iterator[tuple[object, object]]:
    match manifest:
        case {"format": format_name, "operations": list(operations)} if format_name == _APOLLO:
            for operation in operations:
                yield (operation.get("id"), operation.get("body")) if isinstance(operation, dict) else (None, None)
        case dict():
            yield from manifest.items()
        case _:
            yield None, None
