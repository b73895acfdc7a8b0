"""Where a large model's weights lie, and in how many bits: parameters of a model's rule."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from lensbench.errors import ModelError

_MAPS = ("", "auto")
_BITS = ("", "8bit", "4bit")


@dataclass(frozen=True)
class Placing:
    """How a model is laid on its devices.

    Args:
        device_map: "auto" to let accelerate lay it over all GPUs, "" for one device.
        quantization: "8bit" or "4bit" by bitsandbytes, "" for none.
    """

    device_map: str = ""
    quantization: str = ""

    @classmethod
    def checked(cls, device_map: str, quantization: str, device: str) -> Placing:
        """Return what a model's rule asks for, if it can be had here.

        Args:
            device_map: as in the rule.
            quantization: as in the rule.
            device: where the model shall run; a device that is named takes the whole of it.

        Raises:
            ModelError: if a value is unknown, or bitsandbytes or a GPU is missing.
        """
        if device_map not in _MAPS:
            raise ModelError(f'device_map "{device_map}" is unknown: use "auto" or leave it out.')
        if quantization not in _BITS:
            raise ModelError(
                f'quantization "{quantization}" is unknown: use "8bit", "4bit" or leave it out.'
            )
        if quantization and find_spec("bitsandbytes") is None:
            raise ModelError(
                f"quantization {quantization} needs bitsandbytes, which is not installed: run "
                "`pip install bitsandbytes`, or leave quantization out of the model's rule."
            )
        cuda = torch.cuda.is_available() and (device == "auto" or device.startswith("cuda"))
        if quantization and not cuda:
            raise ModelError(
                f"quantization {quantization} needs a CUDA GPU, and the model shall run without "
                "one: leave quantization out of its rule, or run it where there is one."
            )
        return cls(device_map if device == "auto" else "", quantization)

    @property
    def moves(self) -> bool:
        """Whether the model is loaded first and then moved to its device."""
        return not (self.device_map or self.quantization)

    def options(self, dtype: torch.dtype, device: str) -> dict[str, Any]:
        """Return what transformers is told to load a model so.

        Args:
            dtype: of what isn't quantized, and of the computation.
            device: of the whole model, where it isn't laid over all.
        """
        if self.moves:
            return {}
        options: dict[str, Any] = {"device_map": self.device_map or {"": device}}
        if self.quantization:
            from transformers import BitsAndBytesConfig

            options["quantization_config"] = BitsAndBytesConfig(
                load_in_8bit=self.quantization == "8bit",
                load_in_4bit=self.quantization == "4bit",
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=dtype,
            )
        return options


ON_ONE_DEVICE = Placing()


def refuse_offloaded(name: str, model: Any) -> None:
    """Refuse a model of which parts were left in memory or on disk for want of a GPU's memory.

    Such parts are fetched anew for each pass: it would take days, and they can't be checked.

    Args:
        name: what it is called in the sentence.
        model: as transformers loaded it.

    Raises:
        ModelError: if there are such parts.
    """
    places = {str(place) for place in getattr(model, "hf_device_map", {}).values()}
    left = places & {"cpu", "disk"} if len(places) > 1 else places & {"disk"}
    if left:
        raise ModelError(
            f"{name} doesn't fit into the GPUs' memory (parts of it are left on "
            f'{" and ".join(sorted(left))}): use quantization="8bit" or "4bit" in its rule, or a '
            "larger GPU."
        )
