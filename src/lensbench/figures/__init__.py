"""Figures: drawn from tidy tables alone, computing no statistic, never importing torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lensbench.figures.registry import (
        FIGURES,
        RUN_FIGURES,
        FigureSpec,
        make_figure,
        make_run_figure,
    )

__all__ = ["FIGURES", "RUN_FIGURES", "FigureSpec", "make_figure", "make_run_figure"]


def __getattr__(name: str) -> Any:
    # Late, so that `python -m lensbench.figures.fonts` and the tables load no drawing code.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lensbench.figures import registry

    return getattr(registry, name)
