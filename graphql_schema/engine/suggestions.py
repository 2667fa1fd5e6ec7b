"""Names near to a wrong one, which errors suggest: graphql-core fails on names that grow when they are lowered."""

import sys

from graphql.pyutils.suggestion_list import LexicalDistance


class CaseFoldSafeDistance(LexicalDistance):
    """Has room for a name as it is compared, in lower case: of the dotted capital I that is two characters."""

    def __init__(self, input_: str) -> None:
        super().__init__(input_.lower())


def patch_graphql_core() -> None:
    """Let graphql-core measure so, everywhere: else such a name in a variable is a fault of the server."""
    # The package has a function of the module's name in the module's place.
    vars(sys.modules[LexicalDistance.__module__])["LexicalDistance"] = CaseFoldSafeDistance
