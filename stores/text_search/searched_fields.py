"""The parts of a call that are searched: where each is stored, and how much it tells to be found there."""

from dataclasses import dataclass
from typing import Final

from stores.database import Document
from stores.json import codec
from stores.query import text_expressions
from stores.text_search.search_terms import Term, Terms
from stores.text_search.tokenizer import MOST, words_of

Match = Document
Expression = Document


@dataclass(frozen=True, slots=True)
class Part:
    """A part: its name, where it is stored, whether that is JSON, its bit among the parts, and what a term in it adds.

    `wanted` is the field of a row that reads it.
    """

    name: str
    path: str
    bit: int
    weight: int
    wanted: str
    is_json: bool = False

    def text(self, call: Document) -> str:
        """The text of a call that has it read; empty where it has none."""
        found = call.get("json", {}).get(self.path.partition(".")[2]) if self.is_json else call.get(self.path)
        return found or ""

    def written(self, term: Term) -> str:
        """A term as it stands here."""
        return codec.encode(term.text)[1:-1] if self.is_json else term.text

    def pattern(self, term: Term) -> str:
        """The regular expression of a term here, for MongoDB."""
        return text_expressions.escaped(self.written(term))


PARTS: Final = (
    Part("op_name", "op_trace_name", 1, 8, "op_trace_name"),
    Part("display_name", "display_name", 2, 8, "display_name"),
    Part("exception", "exception", 4, 4, "exception"),
    Part("output", "json.output", 8, 2, "output", is_json=True),
    Part("inputs", "json.inputs", 16, 1, "inputs", is_json=True),
)
"""They are searched, and highlights told, in this order."""

ALL_BITS: Final = sum(part.bit for part in PARTS)

WEIGHTS: Final = tuple(sum(part.weight for part in PARTS if bits & part.bit) for bits in range(ALL_BITS + 1))
"""What a term adds to the score of a call that has it in some parts, by their bits together."""

PATHS: Final = {part.path: 1 for part in PARTS}
"""The projection to all of them."""


_ALSO: Final = {"k": "\N{KELVIN SIGN}", "s": "\N{LATIN SMALL LETTER LONG S}"}
"""What is no ASCII, and the same as a letter of ASCII but for letter case."""


def matching(terms: Terms, *, by_words: bool) -> list[Match]:
    """What calls must meet; where they were found `by_words`, what else they must."""
    found = [_has(terms, term) for term in terms.wanted if not (by_words and term.is_word)]
    unwanted = [_has(terms, term) for term in terms.unwanted if not (by_words and term.is_word)]
    return [*found, *([{"$nor": unwanted}] if unwanted else [])]


def perhaps_matching(terms: Terms) -> list[Match]:
    """What calls must meet that may have the words, before these are looked at."""
    return matching(Terms(terms.wanted, tuple(term for term in terms.unwanted if not term.is_word)), by_words=False)


def _has(terms: Terms, term: Term) -> Match:
    if term in terms.compared:
        return {"$expr": _has_expression(terms, term)}
    return {"$or": [{part.path: {"$regex": part.pattern(term), "$options": "i"}} for part in PARTS]}


def hit(terms: Terms) -> Expression:
    """Whether a call meets it all, as an expression."""
    wanted = [_has_expression(terms, term) for term in terms.wanted]
    unwanted = [{"$not": [_has_expression(terms, term)]} for term in terms.unwanted]
    return {"$and": [*wanted, *unwanted]}


def score(terms: Terms) -> Expression:
    """What a call that has it all scores, by where it has each term."""
    return {"$add": [{"$cond": [_is_in(part, terms, term), part.weight, 0]} for term in terms.wanted for part in PARTS]}


def _has_expression(terms: Terms, term: Term) -> Expression:
    return {"$or": [_is_in(part, terms, term) for part in PARTS]}


def _is_in(part: Part, terms: Terms, term: Term) -> Expression:
    if term in terms.compared:
        return _is_in_lowered(f"${part.path}", part.written(term).lower())
    return {"$regexMatch": {"input": f"${part.path}", "regex": part.pattern(term), "options": "i"}}


def _is_in_lowered(text: Expression | str, lowered: str) -> Expression:
    """Whether a text has another one, of ASCII in lower case, in any letter case."""
    for letter, also in _ALSO.items():
        if letter in lowered:
            text = {"$replaceAll": {"input": text, "find": also, "replacement": letter}}
    # MongoDB lowers ASCII alone.
    return {"$gte": [{"$indexOfBytes": [{"$toLower": text}, {"$literal": lowered}]}, 0]}


def words_by_part(call: Document) -> tuple[dict[str, int], bool]:
    """The words of a call, each with the bits of the parts that it is in; and whether some did not count any more."""
    bits: dict[str, int] = {}
    is_cut = False
    for part in PARTS:
        found = words_of(part.text(call), is_json=part.is_json)
        is_cut = is_cut or len(found) > MOST
        for word in found[:MOST]:
            bits[word] = bits.get(word, 0) | part.bit
    return bits, is_cut
