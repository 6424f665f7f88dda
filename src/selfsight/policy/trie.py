"""The packer: any batch of prompts and completions as tries, laid out in rows under a token budget.

What several sequences have in common is computed once: the image and question of a group's answers, the image
of several questions, a game's transcript under the turns of its players, and the first words that answers
share. A *path* is one sequence (a prompt and one completion of it). Paths agree at a place when the token, the
image that the token stands for and the position (every plane of M-RoPE) agree there, so what is merged is
merged by its content, whoever asked for it, and is exact.

The layout
----------
node    a span of tokens with a parent; the tokens of its root path are all that it may look at
row     a forest, flat and without padding, every node followed by its descendants:

            [image | question 1 | answer | answer | question 2 | answer | answer]   [image | question | ...]

        So a node's descendants are one block, and token q may look at token k exactly when
        k <= q < end of the subtree of k's node.
place   index of a token in its row; `position` is what the rotary embedding sees and follows the node's path,
        so siblings carry the same positions.

A shared span that would save fewer than `_WORTH` tokens is repeated instead: a branch costs two small products
per layer. The last token of a completion predicts nothing and is not an input. A path that is a prefix of
another (a game's earlier turn) has no node of its own; its scored tokens lie inside the longer path.

A trie larger than the budget is cut between its paths. What all of them begin with, the `Stem`, need not be computed
again in each part: with `carry` a part is a row of its own that names its stem, and whoever computes it begins behind
the stem (see `stems`). A stem can be the beginning of the whole trie, or of each of the tries behind that beginning
(the prompts behind the first words of a chat template), or not be worth its pass: what costs least is taken. What is
shared elsewhere is repeated in each part. Tries are put into rows first fit, in their sorted order, which depends on
their content alone.

Left out: merging what is equal after different beginnings (it would look at different keys).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from selfsight.images.source import ImageRef

_WORTH = 8  # tokens
_PASS = 64  # tokens that a pass of its own is worth
_LEAST = 4  # a part has at least the budget over this for itself, however long its stem is


@dataclass(frozen=True, eq=False)
class Path:
    """A prompt of `prompt` tokens and a completion: `ids` (L,) without the completion's last token.

    `planes` (planes, L) are positions, `numbers` (L,) is k where a token stands for a part of the k-th of `images`,
    from 1, and 0 elsewhere.
    """

    ids: np.ndarray
    planes: np.ndarray
    numbers: np.ndarray
    images: tuple[ImageRef, ...]
    prompt: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Stem:
    """The S tokens that all parts of a cut trie begin with: `ids` (S,), `planes` (planes, S) and their images."""

    ids: np.ndarray
    planes: np.ndarray
    images: tuple[ImageRef, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Row:
    """A forest of n nodes over S tokens: `ids` (S,), `planes` (planes, S); see the module for the layout.

    `starts`, `stops` and `ends` (n,) are places: node i holds [starts, stops), its descendants [stops, ends).
    `images` are those whose tokens lie in the row, in order, repeated where the tokens are. `members` are the
    indices of the paths that are scored here, ascending; `picked` (N,) are the places whose next token is
    scored, member by member. A row with a `stem` has it as its first node, and `images` are those behind it.
    """

    ids: np.ndarray
    planes: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    ends: np.ndarray
    parents: np.ndarray
    images: tuple[ImageRef, ...]
    members: tuple[int, ...]
    picked: np.ndarray
    stem: Stem | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def begin(self) -> int:
        """The first place behind the stem: what is before it is computed elsewhere."""
        return 0 if self.stem is None else len(self.stem)

    @property
    def reach(self) -> np.ndarray:
        """(S,) one past the last place that may look at each place: the end of its node's subtree."""
        return np.repeat(self.ends, self.stops - self.starts)


class _Span(NamedTuple):
    """Tokens [begin, stop) of the `head`-th of the sorted heads; `parent` counts the spans of a part, -1 is none."""

    parent: int
    head: int
    begin: int
    stop: int


class _Part(NamedTuple):
    """Heads [low, high) as the spans of a trie; never divided further."""

    low: int
    high: int
    spans: list[_Span]
    stem: Stem | None = None

    @property
    def size(self) -> int:
        return sum(span.stop - span.begin for span in self.spans)


def _cost(parts: Sequence[_Part], token_budget: int) -> int:
    """Tokens of these parts, each stem's once, and what their passes cost besides, as tokens."""
    stems = {id(part.stem): len(part.stem) for part in parts if part.stem is not None}
    behind = [part.size - len(part.stem) for part in parts if part.stem is not None]
    others = sum(part.size for part in parts if part.stem is None)
    passes = len(stems) + len(behind) - (-others // token_budget)
    return sum(stems.values()) + sum(behind) + others + _PASS * passes


def pack_rows(paths: Sequence[Path], token_budget: int, *, carry: bool = False) -> list[Row]:
    """Rows of at most `token_budget` tokens, the stem's included; a single path that is longer goes alone.

    With `carry` the parts of a cut trie have a common `stem`, in rows that follow each other. Behind a stem that takes
    most of the budget a row has a quarter of the budget all the same.
    """
    forest = _Forest(paths)
    rows: list[list[_Part]] = []
    sizes: list[int] = []
    for part in forest.parts(token_budget, carry):
        if part.stem is not None:
            rows.append([part])
            sizes.append(token_budget)
            continue
        at = next((i for i, size in enumerate(sizes) if size + part.size <= token_budget), len(rows))
        if at == len(rows):
            rows.append([])
            sizes.append(0)
        rows[at].append(part)
        sizes[at] += part.size
    return [forest.row(parts) for parts in rows]


class _Forest:
    """The paths in lexicographic order.

    `heads` are those that the next one does not begin with; `guests` names, per head, all paths it holds (itself
    and those that it begins with); `shared[i]` is how many tokens head i has in common with head i - 1.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        keys = _keys(paths)
        # Bytes of non-negative big-endian integers compare as the integers do.
        order = sorted(range(len(paths)), key=lambda index: keys[index].tobytes())
        self.heads: list[int] = []
        self.guests: list[list[int]] = [[]]
        self.shared: list[int] = []
        least = 0
        for index, following in zip(order, [*order[1:], None], strict=True):
            self.guests[-1].append(index)
            common = 0 if following is None else _common(keys[index], keys[following])
            if following is not None and common == len(paths[index]):
                continue  # `least` stays: what the next one shares with the last head is shared through this one
            self.heads.append(index)
            self.shared.append(least)
            least = common
            if following is not None:
                self.guests.append([])

    def parts(self, token_budget: int, carry: bool) -> Iterator[_Part]:
        """Whole tries; those above the budget cut into runs of neighbouring heads, with `carry` behind a stem."""
        starts = [span.head for span in self.grow(0, len(self.heads)).spans if span.parent == -1]
        for low, high in zip(starts, [*starts[1:], len(self.heads)], strict=True):
            yield from self.fitted(low, high, token_budget, carry)

    def runs(self, bounds: Sequence[int], room: int, stem: Stem | None = None) -> Iterator[_Part]:
        """Parts that begin and end at `bounds`, as large as there is room for besides the stem, or of one step."""
        before = 0 if stem is None else len(stem)
        first = 0
        while first < len(bounds) - 1:
            last = first + 1
            part = self.grow(bounds[first], bounds[last], stem)
            while last + 1 < len(bounds):
                longer = self.grow(bounds[first], bounds[last + 1], stem)
                if longer.size - before > room:
                    break
                part, last = longer, last + 1
            yield part
            first = last

    def fitted(self, low: int, high: int, token_budget: int, carry: bool) -> list[_Part]:
        """The trie of heads [low, high) whole, if the budget holds it, or cut with nothing carried; with `carry` also
        behind its root, or the tries behind that apart: what costs least.
        """
        whole = self.grow(low, high)
        if whole.size <= token_budget or high - low == 1:
            return [whole]
        heads = range(low, high + 1)
        repeated = list(self.runs(heads, token_budget))
        if not carry:
            return repeated
        root = whole.spans[0]
        room = max(token_budget - root.stop, token_budget // _LEAST)
        apart: list[_Part] = []
        few: list[int] = []  # bounds of neighbours that fit into the budget, each for itself
        depth = min(self.shared[low + 1 : high])
        for first, last in pairwise([low, *(i for i in range(low + 1, high) if self.shared[i] == depth), high]):
            if self.grow(first, last).size <= token_budget:
                few = [*(few or [first]), last]
                continue
            apart += [*self.runs(few, token_budget), *self.fitted(first, last, token_budget, carry)]
            few = []
        apart += self.runs(few, token_budget)
        ways = (list(self.runs(heads, room, self.stem(root))), apart, repeated)
        return min(ways, key=lambda parts: _cost(parts, token_budget))

    def stem(self, root: _Span) -> Stem:
        path = self.paths[self.heads[root.head]]
        images = (image for number, image in enumerate(path.images, 1) if (path.numbers[: root.stop] == number).any())
        return Stem(path.ids[: root.stop], path.planes[:, : root.stop], tuple(images))

    def grow(self, low: int, high: int, stem: Stem | None = None) -> _Part:
        """The forest of heads [low, high), behind their stem if there is one: every span before its descendants, and
        these adjacent.
        """
        spans = [_Span(-1, low, 0, len(stem))] if stem is not None and low < high else []
        waiting = [(low, high, len(stem) if stem is not None else 0, len(spans) - 1)] if low < high else []
        while waiting:
            first, last, begin, parent = waiting.pop()
            if last - first == 1:
                spans.append(_Span(parent, first, begin, len(self.paths[self.heads[first]])))
                continue
            depth = min(self.shared[first + 1 : last])
            bounds = [first, *(i for i in range(first + 1, last) if self.shared[i] == depth), last]
            if (depth - begin) * (len(bounds) - 2) >= _WORTH:
                spans.append(_Span(parent, first, begin, depth))
                begin, parent = depth, len(spans) - 1
            waiting.extend((a, b, begin, parent) for a, b in reversed(list(pairwise(bounds))))
        return _Part(low, high, spans, stem)

    def row(self, parts: Sequence[_Part]) -> Row:
        """The parts side by side, flat."""
        spans: list[_Span] = []
        members: dict[int, np.ndarray] = {}  # places of each path
        images: list[ImageRef] = []
        at = 0
        for part in parts:
            before = len(spans)
            chains: list[list[np.ndarray]] = []  # places of the root path of each span of this part
            for span in part.spans:
                size = span.stop - span.begin
                chains.append([*(chains[span.parent] if span.parent >= 0 else []), np.arange(at, at + size)])
                at += size
                path = self.paths[self.heads[span.head]]
                for number, image in enumerate(path.images, 1):
                    carried = part.stem is not None and span.parent == -1
                    if not carried and span.begin <= int((path.numbers == number).argmax()) < span.stop:
                        images.append(image)
                if span.stop == len(path):  # a leaf: inner spans end before every head they hold
                    places = np.concatenate(chains[-1])
                    members |= {guest: places[: len(self.paths[guest])] for guest in self.guests[span.head]}
                parent = span.parent + before if span.parent >= 0 else -1
                spans.append(span._replace(parent=parent))
        stops = np.cumsum([span.stop - span.begin for span in spans])
        ends = stops.copy()
        for index in range(len(spans) - 1, -1, -1):
            if (parent := spans[index].parent) >= 0:
                ends[parent] = max(ends[parent], ends[index])
        sources = [(self.paths[self.heads[span.head]], span) for span in spans]
        chosen = tuple(sorted(members))
        return Row(
            ids=np.concatenate([path.ids[span.begin : span.stop] for path, span in sources]),
            planes=np.concatenate([path.planes[:, span.begin : span.stop] for path, span in sources], axis=1),
            starts=np.concatenate([[0], stops[:-1]]),
            stops=stops,
            ends=ends,
            parents=np.array([span.parent for span in spans]),
            images=tuple(images),
            members=chosen,
            picked=np.concatenate([members[index][self.paths[index].prompt - 1 :] for index in chosen]),
            stem=parts[0].stem,
        )


def _keys(paths: Sequence[Path]) -> list[np.ndarray]:
    """What must agree for two paths to be one, (L, 2 + planes) per path; images count from their first use."""
    known: dict[str, int] = {}
    keys = []
    for path in paths:
        own = np.array([0, *(known.setdefault(image.id, len(known) + 1) for image in path.images)])
        keys.append(np.stack([own[path.numbers], path.ids, *path.planes], axis=1).astype(">i4"))
    return keys


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the common prefix of two key arrays."""
    size = min(len(a), len(b))
    differs = (a[:size] != b[:size]).any(axis=1)
    return int(differs.argmax()) if differs.any() else size
