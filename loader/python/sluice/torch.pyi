from os import PathLike
from typing import Any

import torch

from sluice import Tensor

def tensor(source: Tensor) -> torch.Tensor: ...
def load_file(filename: str | PathLike[str], device: Any = "cpu", **options: Any) -> dict[str, torch.Tensor]: ...
