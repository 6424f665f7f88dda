"""Where a run's figures go."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

Place = Literal["none", "jsonl", "tensorboard", "wandb", "trackio"]


def _one_is_a_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


# `report_to=wandb` is what other trainers take, too.
ReportTo = Annotated[list[Place], BeforeValidator(_one_is_a_list)]
