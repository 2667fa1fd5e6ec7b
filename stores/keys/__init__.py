"""API keys with their grants, stored as hashes in one collection of the whole database."""

from stores.keys.store import MAX_KEYS, PREFIX, TRUSTED_SECONDS, Key, KeysStore, LiveKeys, MadeKey, digest, key_id_of

__all__ = ["MAX_KEYS", "PREFIX", "TRUSTED_SECONDS", "Key", "KeysStore", "LiveKeys", "MadeKey", "digest", "key_id_of"]
