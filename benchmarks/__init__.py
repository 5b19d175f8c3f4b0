"""Every speed claim, side by side with its peers in one run."""

import sys

if sys.argv[1:2] == ["worker"] and sys.argv[2].partition("-")[0] in ("adjoint", "halves"):
    import adjoint as adjoint  # before NumPy: it chooses the kernels that fit the processor
