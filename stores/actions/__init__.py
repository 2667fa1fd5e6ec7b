"""Actions: what an ActionSpec says is done with calls, each result kept as feedback on its call."""

from stores.actions.action_run import Executed
from stores.actions.store import MAX_CALLS, ActionsStore

__all__ = ["MAX_CALLS", "ActionsStore", "Executed"]
