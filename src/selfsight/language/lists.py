"""Lists in words: "red, blue and green", "red + blue", "red/blue" have the same members.

The separator means nothing, the order does: the left and the right colour are not the right and the left one. A
sentence with commas is split like a list; since every writing of it is split alike, only equal sentences stay equal.
"""

import re

_SEPARATOR = re.compile(
    r"\s*[,;]\s*(?:(?:and|und|et|y|e)\s+|&\s*)?|\s+(?:and|und|et|&|\+)\s+|(?<=[^\W\d_]{2}) ?[/|] "
    r"?(?=[^\W\d_]{2})|\s*(?:和|及|与|以及)\s*(?=\S)|\n"
)
_PAIR_OF_NUMBERS = re.compile(r"\d,\d")


def list_members(text: str) -> list[str]:
    """The members of a list in words; the text alone when it is none.

    Args:
        text: a folded answer that is no number and no maths.
    """
    if "(" in text or "[" in text:
        return [text]
    protected = _PAIR_OF_NUMBERS.sub(lambda found: found.group().replace(",", "\0"), text)
    members = [member.replace("\0", ",").strip() for member in _SEPARATOR.split(protected)]
    members = [member for member in members if member]
    return members if len(members) > 1 else [text]
