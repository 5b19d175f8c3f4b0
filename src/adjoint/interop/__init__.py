"""Networks and weights from elsewhere, and back: PyTorch, ONNX, Hugging Face folders, safetensors."""

from adjoint.interop import traced_tensors as traced_tensors
from adjoint.interop.checkpoints import load, save
from adjoint.interop.opening import open
from adjoint.interop.weights import Weights

__all__ = ["Weights", "load", "open", "save"]
