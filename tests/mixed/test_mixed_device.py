"""A run of both methods as on a machine with a GPU: the device is chosen, used for every model, and fed nothing of the
CPU's; its records are those that any run has.
"""

import json
from pathlib import Path

import pytest
import torch

from selfsight.policy import Policy
from standin import Standin, standing_in

from .conftest import Witnessed, config, witness


@pytest.fixture(scope="module")
def on_gpu(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Witnessed:
    with standing_in(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**30)
        learn = Policy.learn

        def checked(self: Policy, groups: list) -> object:  # type: ignore[type-arg]
            assert all(isinstance(x, Standin) for x in self.vlm.model.state_dict().values())
            return learn(self, groups)

        patch.setattr(Policy, "learn", checked)
        return witness(config(model, tmp_path_factory.mktemp("gpu")))


def test_both_methods_run_on_a_gpu_as_on_a_cpu(on_gpu: Witnessed, straight: Witnessed) -> None:
    def files(run: Witnessed) -> set[Path]:
        return {path.relative_to(run.path) for path in run.path.rglob("*") if path.is_file()}

    assert files(on_gpu) == files(straight)
    assert [seen[:2] for seen in on_gpu.learned] == [seen[:2] for seen in straight.learned]
    assert on_gpu.summary["schedule"] == straight.summary["schedule"]


def test_memory_is_that_of_the_gpu(on_gpu: Witnessed) -> None:
    lines = [json.loads(line) for line in (on_gpu.path / "metrics.jsonl").read_text().splitlines()]
    assert {line["peak_memory_gib"] for line in lines if "peak_memory_gib" in line} == {3.0}
