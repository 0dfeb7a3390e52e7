"""A reversible network for PyTorch, written by revnetify."""
from .model import build_model

__all__ = ['build_model']
