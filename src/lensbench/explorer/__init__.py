"""Pages to explore what a model sees: traces and pictures in, self-contained HTML out."""

from lensbench.explorer.index import write_index
from lensbench.explorer.pages import write_pages

__all__ = ["write_index", "write_pages"]
