"""Numbers in 4 and 8 bits: NF4, FP4, dynamic 8-bit, int8 and int4, and linear layers that compute with them.

>>> import numpy as np, adjoint as aj
>>> W = aj.quantize(np.random.default_rng(0).normal(size=(512, 512)), "nf4")
>>> W.nbytes / W.size <= 0.52
True
"""

from adjoint.quantization.bitsandbytes import from_bitsandbytes
from adjoint.quantization.layers import QuantizedLinear
from adjoint.quantization.networks import dequantize, quantize
from adjoint.quantization.packing import Quantized

__all__ = ["Quantized", "QuantizedLinear", "dequantize", "from_bitsandbytes", "quantize"]
