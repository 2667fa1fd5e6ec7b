"""Actions: apply an ActionSpec to calls and store each result as feedback on its call."""

from stores.actions.store import MAX_CALLS, ActionResults, ActionsStore

__all__ = ["MAX_CALLS", "ActionResults", "ActionsStore"]
