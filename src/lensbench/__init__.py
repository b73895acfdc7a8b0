"""lensbench: what multimodal language models hold in their middle layers."""

__version__ = "0.1.0"
