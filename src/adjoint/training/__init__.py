"""Training: the loop, its checkpoints, and what is measured on the way.

>>> import adjoint as aj
>>> train, test = aj.data.digits().split(test=0.2, seed=0)
>>> run = aj.fit(aj.nn.MLP((64, 10), rng=0), train, epochs=2, progress=False)
>>> loss, accuracy = aj.training.evaluate(run.net, test)
>>> [epoch.epoch for epoch in run.history], loss < 2.3
([1, 2], True)
"""

from adjoint.interop.checkpoints import load, save
from adjoint.training.loop import Trained, evaluate, fit
from adjoint.training.metrics import accuracy, confusion_matrix, top_k_accuracy
from adjoint.training.state import Epoch

__all__ = ["Epoch", "Trained", "accuracy", "confusion_matrix", "evaluate", "fit", "load", "save", "top_k_accuracy"]
