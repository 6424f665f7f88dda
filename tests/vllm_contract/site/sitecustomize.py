"""Lets torchvision's CUDA wheel be imported beside torch's CPU build, which is what an index of wheels gives on a CPU.

vLLM needs torchvision's transforms, not its compiled operators; without these its import fails because it registers
a fake for `nms` and `qnms`, whose schemas only the compiled library declares. They are declared here, just before the
import. A folder with this file on PYTHONPATH reaches the server, too, which is a process of its own.
"""

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class DeclareFirst(MetaPathFinder):
    """Finds nothing itself: the sight of torchvision's name is what it waits for."""

    library: object = None

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname == "torchvision":
            import torch

            sys.meta_path.remove(self)
            if torch.version.cuda is None:
                DeclareFirst.library = declared = torch.library.Library("torchvision", "DEF")
                for schema in SCHEMAS:
                    declared.define(schema)
        return None


sys.meta_path.insert(0, DeclareFirst())
