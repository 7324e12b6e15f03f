"""What a result was made with: versions, machine, devices. Written beside every run and every figure."""

import contextlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from elasticface.base.version import __version__

_PACKAGES = ("torch", "numpy", "opencv-python-headless", "numba", "onnxruntime")


def describe() -> dict[str, Any]:
    """Versions of elasticface and of what it computes with, the processor, threads and GPUs; ready for JSON."""
    import torch

    return {
        "versions": versions(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def versions() -> dict[str, str]:
    """Versions of elasticface, Python and the packages it computes with, as far as they are installed."""

    found = {"elasticface": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
