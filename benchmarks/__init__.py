"""Speed as ratios, each against a peer or a bare loop within one process."""

import importlib.util
import sys

if importlib.util.find_spec("torchvision"):
    # segmentation-models-pytorch and torchgeo bring a torchvision that was built for CUDA. Beside a PyTorch without it,
    # its import fails for want of operators that nothing here calls, and takes that of torchmetrics along.
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        VISION = torch.library.Library("torchvision", "DEF")  # the definitions last as long as it is held
        for operator in ("nms", "qnms"):
            VISION.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for loaded in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[loaded]
