"""Operands for the operators that PyTorch takes apart before its dispatcher sees them: odd shapes, both dtypes."""

from __future__ import annotations

from typing import Any

import torch

G = torch.Generator().manual_seed(3)
F32, F64, I64 = torch.float32, torch.float64, torch.int64


def f(*shape: int, dtype: torch.dtype = F32) -> torch.Tensor:
    return torch.randn(shape, generator=G, dtype=dtype)


def i(high: int, *shape: int) -> torch.Tensor:
    return torch.randint(high, shape, generator=G)


def p(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=G) * 0.8 + 0.1


def spd(n: int) -> torch.Tensor:
    a = f(2, n, n)
    return a @ a.mT + torch.eye(n)


def s(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


X, V, E = f(2, 1, 3), f(5), f(0, 3)
RNN = [f(4, 3), f(4, 4), f(4), f(4)]
GATED = [f(12, 3), f(12, 4), f(12), f(12)]
MEMORY = [f(16, 3), f(16, 4), f(16), f(16)]
UNARY = "special_erf special_expit log_sigmoid selu square isfinite relu6 fix special_erfc"

SAMPLES: dict[str, list[Any]] = {
    **{name: [s(X), s(E), s(f(), ), s(V.double())] for name in UNARY.split()},
    "special_logit": [s(p(3, 2)), s(f(4), 0.2)],
    "special_xlogy": [s(torch.tensor([0.0, 1.0, 2.0]), p(3)), s(i(3, 4), p(4))],
    "__and__": [s(i(9, 3), i(9, 2, 1)), s(i(9, 3), 5), s(V > 0, V < 1)],
    "__or__": [s(i(9, 3), i(9, 2, 1)), s(V > 0, V < 1)],
    "__lshift__": [s(i(9, 3), 2)],
    "__rshift__": [s(i(9, 3), 1)],
    "bitwise_left_shift": [s(i(9, 3), i(3, 3))],
    "true_divide": [s(i(9, 3) + 1, i(9, 3) + 1), s(X, V[:3].double())],
    "divide": [s(X, 2), s(i(9, 4), 2, rounding_mode="floor"), s(-i(9, 4), 4, rounding_mode="trunc")],
    "clip": [s(X, -0.5, 0.5), s(i(9, 4), 2, 5), s(X, f(3), None)],
    "prelu": [s(f(2, 3, 4), f(3)), s(X, f(1)), s(V, f(1))],
    "rrelu": [s(X, 0.1, 0.3, False)],
    "type_as": [s(X, i(2, 1)), s(i(3, 2), X)],
    "softmax": [s(X, -1), s(f(), 0), s(V, 0, F64), s(E, -1)],
    "special_softmax": [s(X, 1)],
    "log_softmax": [s(X, -1), s(X, 0, F64)],
    "special_log_softmax": [s(X, 1)],
    "argsort": [s(V), s(f(3, 4), 0, True)],
    "contiguous": [s(X.mT)],
    "reshape": [s(X, [3, -1]), s(E, [0]), s(f(), [1, 1])],
    "view_as": [s(X, f(6))],
    "flatten": [s(f(2, 3, 4), 1), s(f()), s(f(2, 3, 4), 0, -2)],
    "unflatten": [s(f(2, 6), -1, [2, -1])],
    "swapaxes": [s(X, 0, -1)],
    "numpy_T": [s(f(2, 3))],
    "mT": [s(X)],
    "movedim": [s(f(2, 3, 4), 0, -1), s(f(2, 3, 4), [0, 1], [1, 2])],
    "expand_as": [s(X, f(2, 4, 3))],
    "broadcast_to": [s(X, [2, 4, 3])],
    "narrow": [s(V, -1, 1, 3), s(E, 0, 0, 0)],
    "chunk": [s(V, 3), s(f(2, 7), 4, -1)],
    "tensor_split": [s(V, 3), s(f(2, 7), [1, 4], -1)],
    "concat": [s([X, f(2, 2, 3)], 1), s([f(0), f(3), i(3, 2)])],
    "tile": [s(X, [2, 2]), s(V, [2, 1, 3])],
    "repeat_interleave": [s(X, 2, -1), s(V, 3), s(V, torch.tensor([1, 0, 2, 1, 3]))],
    "pad": [s(f(2, 3, 4), [1, -1, 2, 0]), s(f(2, 3, 4), [1, 2], "reflect"), s(f(2, 3, 4), [1, 2], "replicate"),
            s(f(2, 3, 4), [1, 2], "circular"), s(i(3, 4), [1, 1], "constant", 7)],
    "diag": [s(V, 1), s(f(3, 4), -1)],
    "take_along_dim": [s(f(3, 4), i(4, 3, 2), -1), s(f(3, 4), i(12, 5))],
    "argwhere": [s(V > 0), s(f(2, 3) > 0)],
    "matmul": [s(X, f(3, 4)), s(V, V), s(f(2, 2, 3), f(3)), s(f(3), f(2, 3, 4)), s(E, f(3, 2))],
    "linalg_matmul": [s(f(2, 3), f(3, 4))],
    "inner": [s(X, f(4, 3)), s(f(), V)],
    "outer": [s(V, f(3)), s(V, i(4, 3))],
    "linear": [s(X, f(4, 3), f(4)), s(V, f(2, 5)), s(E, f(4, 3), f(4))],
    "einsum": [s("bij,bjk->bik", [f(2, 3, 4), f(2, 4, 5)]), s("ii->i", [f(3, 3)]), s("...i,ji", [X, f(4, 3)])],
    "tensordot": [s(f(2, 3, 4), f(4, 3, 5), [1, 2], [1, 0])],
    "bilinear": [s(f(2, 3), f(2, 4), f(5, 3, 4), f(5))],
    "kron": [s(f(2, 3), f(3, 1)), s(V, f(2, 2))],
    "linalg_vecdot": [s(X, f(2, 4, 3)), s(X, X, dim=0)],
    "cosine_similarity": [s(f(2, 3, 4), f(2, 3, 4), 1), s(f(3), f(3), 0)],
    "pairwise_distance": [s(f(2, 3), f(2, 3)), s(f(2, 3), f(2, 3), 1.0, 1e-6, True)],
    "cdist": [s(f(2, 3, 4), f(2, 5, 4)), s(f(3, 4), f(2, 4), 1.0)],
    "pdist": [s(f(4, 3))],
    "linalg_inv": [s(spd(3))],
    "inverse": [s(spd(2))],
    "linalg_cholesky": [s(spd(3)), s(spd(3), upper=True)],
    "linalg_solve": [s(spd(3), f(2, 3, 2)), s(spd(3)[0], f(3)), s(spd(3), f(2, 2, 3), left=False)],
    "linalg_det": [s(f(2, 3, 3))],
    "linalg_slogdet": [s(f(2, 3, 3))],
    "logdet": [s(spd(3))],
    "linalg_svdvals": [s(f(3, 4))],
    "linalg_eigvalsh": [s(spd(3))],
    "matrix_exp": [s(f(2, 3, 3))],
    "linalg_matrix_power": [s(spd(3), 3), s(spd(3), -1), s(spd(3), 0)],
    "conv1d": [s(f(2, 4, 9), f(6, 2, 3), f(6), [2], [1], [1], 2), s(f(3, 9), f(2, 3, 2)),
               s(f(1, 3, 9), f(2, 3, 4), None, [1], "same", [1], 1)],
    "conv2d": [s(f(2, 4, 7, 8), f(6, 4, 3, 2), f(6), [2, 1], [1, 0], [1, 2])],
    "conv3d": [s(f(1, 2, 4, 5, 3), f(3, 2, 2, 2, 2), None, [1], [1])],
    "conv_transpose1d": [s(f(2, 4, 5), f(4, 3, 3), f(3), [2], [1], [1])],
    "conv_transpose2d": [s(f(2, 4, 5, 3), f(4, 2, 3, 3), f(4), [2, 2], [1, 0], [1, 0], 2)],
    "conv_transpose3d": [s(f(1, 2, 3, 2, 3), f(2, 3, 2, 2, 2))],
    "col2im": [s(f(2, 12, 12), [4, 5], [2, 2], [1, 1], [0, 0], [1, 1])],
    "max_pool1d": [s(f(2, 3, 9), [3], [2], [1]), s(f(2, 3, 9), [2])],
    "max_pool2d": [s(f(2, 3, 7, 8), [3, 2], [2, 2], [1, 1], [1, 1], True)],
    "max_pool3d": [s(f(1, 2, 4, 5, 6), [2, 2, 2])],
    "avg_pool1d": [s(f(2, 3, 9), [3], [2], [1], True, False)],
    "adaptive_avg_pool1d": [s(f(2, 3, 7), [3])],
    "adaptive_avg_pool2d": [s(f(2, 3, 7, 5), [3, 1])],
    "adaptive_avg_pool3d": [s(f(1, 2, 4, 5, 6), [2, 1, 3])],
    "adaptive_max_pool1d": [s(f(2, 3, 7), [3])],
    "layer_norm": [s(f(2, 3, 4), [3, 4], f(3, 4), f(3, 4)), s(f(2, 4), [4], None, f(4), 0.1), s(E, [3])],
    "rms_norm": [s(f(2, 3, 4), [4], f(4), 1e-3), s(f(2, 3, 4), [3, 4])],
    "group_norm": [s(f(2, 4, 3), 2, f(4), f(4)), s(f(2, 6), 3)],
    "_native_batch_norm_legit_no_training": [s(f(2, 3, 4), f(3), f(3), f(3), p(3), 0.1, 1e-5)],
    "_native_batch_norm_legit_functional": [s(f(4, 3, 2), f(3), f(3), f(3), p(3), True, 0.3, 1e-5)],
    "scaled_dot_product_attention": [
        s(f(2, 3, 5, 4), f(2, 3, 6, 4), f(2, 3, 6, 2)), s(f(3, 5, 4), f(3, 5, 4), f(3, 5, 4), None, 0.0, True),
        s(f(2, 4, 5, 4), f(2, 2, 6, 4), f(2, 2, 6, 4), f(5, 6), enable_gqa=True, scale=0.3),
        s(f(2, 3, 5, 4), f(2, 3, 6, 4), f(2, 3, 6, 4), torch.ones(5, 6, dtype=torch.bool).tril(1)),
    ],
    "upsample_nearest1d": [s(f(1, 2, 5), [7], None)],
    "upsample_nearest2d": [s(f(1, 2, 5, 4), None, [1.5, 2.0])],
    "upsample_nearest3d": [s(f(1, 2, 2, 3, 4), [3, 2, 5], None)],
    "upsample_linear1d": [s(f(1, 2, 5), [7], False, None)],
    "upsample_bilinear2d": [s(f(1, 2, 5, 4), [7, 3], True, None), s(f(1, 2, 5, 4), None, False, [1.5, 2.0])],
    "upsample_trilinear3d": [s(f(1, 2, 2, 3, 4), [3, 2, 5], False, None)],
    "upsample_bicubic2d": [s(f(1, 2, 5, 4), [7, 3], False, None)],
    "cross_entropy_loss": [s(f(4, 5), i(5, 4)), s(f(4, 5, 2), i(5, 4, 2), p(5), 2, 3, 0.1)],
    "nll_loss": [s(f(4, 5), i(5, 4)), s(f(4, 5), i(5, 4), p(5), 0, 2)],
    "nll_loss_nd": [s(f(4, 5, 2), i(5, 4, 2))],
    "l1_loss": [s(f(4, 5), f(4, 5)), s(f(4), f(4), 2)],
    "kl_div": [s(f(4, 5), p(4, 5), 2)],
    "rnn_tanh": [s(f(5, 2, 3), f(1, 2, 4), RNN, True, 1, 0.0, False, False, False)],
    "rnn_relu": [s(f(2, 5, 3), f(1, 2, 4), RNN[:2], False, 1, 0.0, False, False, True)],
    "gru": [s(f(5, 2, 3), f(2, 2, 4), [*GATED, f(12, 3), f(12, 4), f(12), f(12)], True, 1, 0.0, False, True, False)],
    "lstm": [s(f(5, 2, 3), [f(1, 2, 4), f(1, 2, 4)], MEMORY, True, 1, 0.0, False, False, False)],
    "median": [s(f(3, 4)), s(f(3, 5), 1, True)],
    "cumprod": [s(f(3, 4), 1), s(i(4, 5), 0), s(f(2, 3), -2, dtype=F64)],
    "logcumsumexp": [s(f(3, 4), 1)],
    "histc": [s(f(30), 5, -1, 1)],
    "rot90": [s(f(2, 3), k, [0, 1]) for k in (-1, 0, 1, 2)],
    "isin": [s(i(5, 4), i(5, 2)), s(i(5, 4), i(5, 2), invert=True)],
    "searchsorted": [s(f(2, 4).sort().values, f(2, 3)), s(V.sort().values, f(2, 3), right=True)],
    "as_strided": [s(f(3, 4), [2, 2, 2], [4, 1, 2], 1)],
    "masked_select": [s(f(3, 4), f(4) > 0)],
    "index": [s(f(3, 4, 5), [None, i(4, 2, 1), i(5, 3)]), s(f(3, 4, 5), [i(3, 2), None, i(5, 2)]),
              s(f(3, 4), [f(3) > 0]), s(f(3, 4), [-i(3, 2) - 1]), s(f(3, 4, 2), [None, f(4) > -9, i(2, 4)])],
    "index_put": [s(f(3, 4, 5), [None, i(4, 2, 1), i(5, 3)], f(3, 2, 3), True), s(f(4, 5), [i(4, 3), None], f(5)),
                  s(f(3, 4, 5), [i(3, 2), None, i(5, 2)], f(2, 4), True), s(f(3, 4), [f(3, 4) > 0], f()),
                  s(f(3, 4), [None, f(4) > 0], f()), s(f(3, 4, 2) > 0, [f(3, 4) > 0], torch.tensor(True)),
                  s(i(9, 4), [torch.tensor([1, 1])], torch.tensor(7)), s(f(4) > 0, [i(4, 2)], torch.tensor(True))],
}  # fmt: skip
