"""API keys with their grants, stored as hashes in one collection of the whole database."""

from stores.keys.key import PREFIX, Key, MadeKey, digest, key_id_of
from stores.keys.store import MAX_KEYS, KeysStore, LiveKeys

__all__ = ["MAX_KEYS", "PREFIX", "Key", "KeysStore", "LiveKeys", "MadeKey", "digest", "key_id_of"]
