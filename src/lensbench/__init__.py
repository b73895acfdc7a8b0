"""lensbench: what multimodal language models hold in their middle layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lensbench.look import Lens

__version__ = "0.1.0"
__all__ = ["Lens", "__version__"]


def __getattr__(name: str) -> Any:
    # Late: lensbench itself is imported by code that never needs torch.
    if name == "Lens":
        from lensbench.look import Lens

        return Lens
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
