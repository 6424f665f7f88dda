"""Which method has which round of a mixed run.

The methods alternate, `mixed.first` first, until one has had all its rounds; the other goes on alone with what is
left. How many rounds each has is said by the option that says it in a run of its own: `visplay.rounds`, and
`vision_zero.iterations` over `eval_steps`.
"""

from selfsight.config import EvolveConfig
from selfsight.errors import SelfsightError


def schedule(config: EvolveConfig) -> tuple[str, ...]:
    """The method of every round, from round 1."""
    left = {
        "visplay": config.visplay.rounds,
        "vision-zero": config.vision_zero.iterations // config.vision_zero.eval_steps,
    }
    first = config.mixed.first
    (second,) = (name for name in left if name != first)
    turns: list[str] = []
    while any(left.values()):
        for name in (first, second):
            if left[name]:
                turns.append(name)
                left[name] -= 1
    return tuple(turns)


def rounds_of(method: str, turns: tuple[str, ...]) -> list[int]:
    """The rounds that are a method's, from 1."""
    return [round for round, name in enumerate(turns, 1) if name == method]


def refuse_other_turns(before: EvolveConfig, now: EvolveConfig) -> None:
    """Raises when rounds that may be done would have been the other method's."""
    old, new = schedule(before), schedule(now)
    shared = min(len(old), len(new))
    if old[:shared] != new[:shared]:
        raise SelfsightError(
            f"the rounds of this run were to be {', '.join(old)}, and would be {', '.join(new)}: visplay.rounds and "
            "vision_zero.iterations cannot change like this in a run that has begun",
            hint="give both methods as many rounds more, or only the one that has the last round",
        )
