"""Names that other libraries have for the zoo's networks, and how they become the official ones.

One file per library, each with a table of names per family; all of them are in `DIALECTS`.
Each is proven against the library's own network: `tests/golden/dialects/`.
"""

from fca_edge.checkpoint.dialects.changes import name_change
from fca_edge.checkpoint.dialects.huggingface import HUGGING_FACE
from fca_edge.checkpoint.dialects.names import Dialect
from fca_edge.checkpoint.dialects.timm import TIMM
from fca_edge.checkpoint.dialects.torchvision import TORCHVISION

DIALECTS: tuple[Dialect, ...] = (*TIMM, *TORCHVISION, *HUGGING_FACE)

__all__ = ["DIALECTS", "Dialect", "name_change"]
