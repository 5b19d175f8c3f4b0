"""Training: the loop, its checkpoints, and what is measured on the way."""

from adjoint.training.checkpoints import load, save
from adjoint.training.loop import Trained, evaluate, fit
from adjoint.training.metrics import accuracy, confusion_matrix, top_k_accuracy
from adjoint.training.state import Epoch

__all__ = ["Epoch", "Trained", "accuracy", "confusion_matrix", "evaluate", "fit", "load", "save", "top_k_accuracy"]
