"""Whole networks, ready to train."""

from adjoint.models.encoder import EncoderClassifier
from adjoint.models.gpt import GPT

__all__ = ["GPT", "EncoderClassifier"]
