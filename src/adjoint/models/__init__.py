"""Whole networks, ready to train, and real architectures from their configuration."""

from adjoint.models.config import ARCHITECTURES, from_config
from adjoint.models.encoder import EncoderClassifier
from adjoint.models.gpt import GPT

__all__ = ["ARCHITECTURES", "GPT", "EncoderClassifier", "from_config"]
