"""The operations: importing this package gives every differentiable function of the seam its maps.

An operation is the seam's function itself, so `adjoint.exp` serves arrays of every backend and traced values alike.
"""

from adjoint.arrays import FUNCTIONS
from adjoint.arrays.attention_forms import attention_weights as attention_weights
from adjoint.arrays.attention_forms import scaled_dot_product_attention as scaled_dot_product_attention
from adjoint.arrays.attention_linear import linear_attention as linear_attention
from adjoint.arrays.masks import causal_mask as causal_mask
from adjoint.arrays.masks import local_mask as local_mask
from adjoint.arrays.masks import padding_mask as padding_mask
from adjoint.arrays.masks import strided_mask as strided_mask
from adjoint.arrays.products import einsum as einsum
from adjoint.ops import (  # noqa: F401
    attention,
    convolutions,
    elementwise,
    layout,
    linalg,
    losses,
    normalization,
    pooling,
    positions,
    products,
    quantized,
    random,
    recurrent,
    reductions,
    resampling,
    self_attention,
)
from adjoint.ops.checkpoint import checkpoint as checkpoint
from adjoint.ops.define import OPERATIONS as OPERATIONS

INTERNAL = {
    "attend", "attend_cotangents", "attend_residual", "cofactors", "convolution", "convolution_input",
    "convolution_weight", "ctc_residual", "einsum_apply", "floored", "gated", "gelu_residual", "gelu_slope",
    "gru_states", "hold", "linear_added", "linear_sum", "lstm_states", "max_pool", "normalization_gain",
    "normalization_product", "normalize_channels", "normalize_rows", "own", "owner", "pick", "place", "put",
    "put_along", "random_bits", "random_mask", "release", "resample", "reversed_cumulative_sum", "rnn_states",
    "scan_apply", "softmax_difference", "sort_order", "surprisal", "verify",
}  # fmt: skip
PUBLIC = {
    name: function for name, function in FUNCTIONS.items() if name not in INTERNAL and not name.endswith("_update")
}
globals().update(PUBLIC)
__all__ = [  # noqa: PLE0604
    "attention_weights", "causal_mask", "checkpoint", "einsum", "linear_attention", "local_mask", "padding_mask",
    "scaled_dot_product_attention", "strided_mask", *sorted(PUBLIC),
]  # fmt: skip
