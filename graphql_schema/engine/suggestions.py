"""Name suggestions in errors: a fix for graphql-core, which fails on names that grow in lower case."""

import sys

from graphql.pyutils.suggestion_list import LexicalDistance


class CaseFoldSafeDistance(LexicalDistance):
    """A distance with room for the lower-case name, which may be longer: dotted capital I becomes two characters."""

    def __init__(self, input_: str) -> None:
        super().__init__(input_.lower())


def patch_graphql_core() -> None:
    """Use this distance in graphql-core: otherwise such a name in a variable is an internal error."""
    # The package exports a function of the same name as the module, so the module is only in `sys.modules`.
    vars(sys.modules[LexicalDistance.__module__])["LexicalDistance"] = CaseFoldSafeDistance
