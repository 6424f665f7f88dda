"""What roles say and how it is read. Imports no torch."""

from selfsight.language.game_prompts import (
    GamePack,
    PrivateState,
    PublicClue,
    PublicState,
    RefereeView,
    SeatView,
    get_game_pack,
)
from selfsight.language.keys import answer_key, key_of
from selfsight.language.parse import Reading
from selfsight.language.prompts import Prompt, PromptPack, get_pack
from selfsight.language.similarity import (
    NoveltyMemory,
    bleu_distance_matrix,
    cluster,
    diversity_clusters,
    family_of,
    normal_wording,
)
from selfsight.language.votes import Votes, count_votes

__all__ = [
    "GamePack",
    "NoveltyMemory",
    "PrivateState",
    "Prompt",
    "PromptPack",
    "PublicClue",
    "PublicState",
    "Reading",
    "RefereeView",
    "SeatView",
    "Votes",
    "answer_key",
    "bleu_distance_matrix",
    "cluster",
    "count_votes",
    "diversity_clusters",
    "family_of",
    "get_game_pack",
    "get_pack",
    "key_of",
    "normal_wording",
]
