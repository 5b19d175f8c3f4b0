"""Modules that nobody prepared, through torch.export: outputs and gradients of all parameters equal PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.interop.torch_peers import compare, randomized


def f(*shape: int) -> Tensor:
    return torch.randn(shape)


def i(high: int, *shape: int) -> Tensor:
    return torch.randint(high, shape)


class Views(nn.Module):
    """Views, changes in place through them, index arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Any:
        y = self.linear(x)
        b, n, _ = y.shape
        y = y.view(b, n, 2, 3).transpose(1, 2).contiguous().view(b, -1, 3)
        y[:, 0] = y[:, 1] * 2
        y[..., 1:].mul_(3.0)
        z = y.clone()
        z[:, ::2, 0] += 1.0
        z.relu_()
        q = y[:, torch.arange(y.shape[1]).flip(0)]
        r = z[torch.arange(b)[:, None], torch.tensor([0, 2])]
        t = torch.einsum("bij,bkj->bik", q, z)
        c = t.cumsum(1).masked_fill(torch.ones(t.shape[1:], dtype=torch.bool).triu(1), 0.0)
        return c, r, y.unfold(1, 2, 1).sum(-1), q.roll((1, 2), (0, 1)), y.mean((0, 2)), z


class Picks(nn.Module):
    """Gathers, scatters, orders, extrema, statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor, index: Tensor) -> dict[str, Any]:
        y = self.linear(x)
        picked = y.gather(1, index)
        rows, columns = torch.tensor([0, 2]), torch.tensor([1, 3])
        return {
            "picked": picked,
            "top": y.topk(3, -1),
            "sorted": tuple(y.sort(0, descending=True)),
            "added": torch.zeros_like(y).scatter_add(1, index, picked),
            "written": y.scatter(1, index[:, :1], picked[:, :1]),
            "mean": y.scatter_reduce(1, index, picked, "mean"),
            "largest": y.scatter_reduce(1, index, 2 * picked, "amax", include_self=False),
            "bins": torch.zeros(6, dtype=y.dtype).index_add(0, index[0], y[0, : index.shape[1]]),
            "put": y.index_put((rows, columns), picked[:2, 0]),
            "extrema": y.max(1).values + y.min(1)[0] + y.median(1).values + y.argmax(1),
            "spread": y.std(1) + y.var(0, unbiased=False).sum() + y.norm(dim=1) + y.logsumexp(1) + y.prod(1),
            "buckets": torch.bucketize(y.detach(), torch.tensor([-1.0, 0.0, 1.0]).to(y)),
            "where": torch.where(y > 0, y, -0.1 * y).cumprod(1),
            "distances": torch.cdist(y, y[:2] + 1.0),
        }


class Branch(nn.Module):
    """Control flow by a value, as export accepts it; a region without gradients; a buffer that counts calls."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.b = nn.Linear(3, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            scale = self.a(x).mean()
        self.calls += 1
        return torch.cond(x.sum() > 0, lambda x: self.a(x).sin(), lambda x: self.b(x) * scale, (x,))


class Algebra(nn.Module):
    """Linear algebra and products."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        y = self.linear(x)
        a = y @ y.mT + torch.eye(4, dtype=x.dtype)
        return (
            torch.linalg.inv(a), torch.linalg.solve(a, y), torch.linalg.cholesky(a), torch.linalg.det(a),
            torch.logdet(a), torch.linalg.matrix_exp(0.1 * y), torch.linalg.cross(y[:, :3], y[:, 1:]),
            torch.kron(y[0], y[1]), torch.trace(y), torch.outer(y[0], y[1]),
        )  # fmt: skip


class Warp(nn.Module):
    """A spatial transformer (Jaderberg et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.theta = nn.Linear(3, 6)

    def forward(self, x: Tensor, p: Tensor) -> Tensor:
        grid = F.affine_grid(0.3 * self.theta(p).view(-1, 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(self.conv(x), grid, align_corners=False)


class Losses(nn.Module):
    """Losses on top of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 5)

    def forward(self, x: Tensor, target: Tensor) -> Any:
        y = self.linear(x)
        wide = x.sum(-1, keepdim=True).expand(-1, 5)
        log_p = F.log_softmax(y, -1)
        return (
            F.cross_entropy(y, target, label_smoothing=0.1), F.nll_loss(log_p, target), F.smooth_l1_loss(y, wide),
            F.huber_loss(y, wide, delta=0.5), F.mse_loss(y, wide, reduction="sum"),
            F.binary_cross_entropy_with_logits(y, torch.sigmoid(wide)),
            F.kl_div(log_p, y.softmax(-1), reduction="batchmean"),
        )  # fmt: skip


MASK = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], dtype=torch.bool)
CNN = nn.Sequential(
    nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
    nn.Conv2d(4, 6, 3, padding="same", groups=2, dilation=2), nn.GroupNorm(3, 6), nn.SiLU(),
    nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten(), nn.Linear(36, 5),
)  # fmt: skip
UPWARDS = nn.Sequential(
    nn.ConvTranspose2d(3, 4, 3, 2, 1, 1), nn.InstanceNorm2d(4, affine=True), nn.LeakyReLU(0.2),
    nn.AvgPool2d(2, ceil_mode=True), nn.Upsample(scale_factor=2, mode="bilinear"), nn.PixelShuffle(2),
)  # fmt: skip
ACTIVATIONS = nn.Sequential(
    nn.Linear(6, 6), nn.ELU(), nn.Linear(6, 6), nn.CELU(0.7), nn.SELU(), nn.GELU("tanh"), nn.Softplus(2.0, 3.0),
    nn.PReLU(), nn.Hardtanh(), nn.Hardsigmoid(), nn.LogSigmoid(), nn.Softsign(), nn.Tanhshrink(), nn.Softshrink(0.01),
    nn.Softmax(-1), nn.LogSoftmax(0), nn.GLU(),
)  # fmt: skip

MODULES: dict[str, tuple[Any, ...]] = {
    "encoder": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), f(3, 5, 8)),
    "masked encoder": (
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu", norm_first=True), f(3, 5, 8),
        {"src_key_padding_mask": MASK},
    ),
    "decoder": (nn.TransformerDecoderLayer(8, 2, 16), f(5, 1, 8), f(4, 1, 8)),
    "attention": (nn.MultiheadAttention(8, 2, add_bias_kv=True), f(5, 3, 8), f(6, 3, 8), f(6, 3, 8)),
    "lstm": (nn.LSTM(3, 4, 2, bidirectional=True), f(5, 2, 3)),
    "projected lstm": (nn.LSTM(3, 4, proj_size=2, batch_first=True), f(2, 5, 3)),
    "gru": (nn.GRU(3, 4, batch_first=True, bias=False), f(1, 5, 3)),
    "rnn": (nn.RNN(3, 4, nonlinearity="relu"), f(5, 3)),
    "lstm cell": (nn.LSTMCell(3, 4), f(2, 3)),
    "cnn": (CNN, f(3, 3, 17, 15)),
    "upwards": (UPWARDS, f(1, 3, 5, 7)),
    "conv1d": (nn.Sequential(nn.Conv1d(2, 4, 3, padding=1, padding_mode="circular"), nn.AdaptiveMaxPool1d(3)),
               f(3, 2, 9)),
    "conv3d": (nn.Sequential(nn.Conv3d(2, 3, 2), nn.Hardswish(), nn.MaxPool3d(2), nn.ReplicationPad3d(1)),
               f(1, 2, 5, 5, 4)),
    "bags": (nn.EmbeddingBag(7, 3, mode="mean"), i(7, 4, 3)),
    "largest of bags": (nn.EmbeddingBag(7, 3, mode="max"), i(7, 4, 3)),
    "sums of bags": (nn.EmbeddingBag(7, 3, mode="sum", padding_idx=2), i(7, 8), torch.tensor([0, 3, 5])),
    "embedding": (nn.Embedding(7, 3, padding_idx=2), torch.tensor([[1, 2, 6], [2, 0, 1]])),
    "bilinear": (nn.Bilinear(3, 4, 5), f(2, 3), f(2, 4)),
    "activations": (ACTIVATIONS, f(3, 6)),
    "normalizations": (nn.Sequential(nn.RMSNorm(6), nn.LayerNorm([4, 6]), nn.LocalResponseNorm(2)), f(2, 3, 4, 6)),
    "columns": (nn.Sequential(nn.Unfold(3, padding=1), nn.Conv1d(18, 18, 1), nn.Fold((4, 5), 3, padding=1)),
                f(2, 2, 4, 5)),
    "views": (Views(), f(3, 4, 6)),
    "picks": (Picks(), f(3, 6), torch.tensor([[0, 2, 2], [5, 1, 0], [3, 3, 3]])),
    "branch": (Branch(), f(2, 3)),
    "algebra": (Algebra(), f(4, 4)),
    "warp": (Warp(), f(2, 2, 5, 4), f(2, 3)),
    "losses": (Losses(), f(3, 4), torch.tensor([1, 4, 0])),
}  # fmt: skip
SINGLE = ("encoder", "cnn", "lstm", "views", "picks", "upwards")  # in float32 too


@pytest.mark.parametrize(
    ("name", "dtype"), [(n, "float64") for n in MODULES] + [(n, "float32") for n in SINGLE], ids=lambda x: x
)
def test_outputs_and_gradients_equal_pytorchs(name: str, dtype: str) -> None:
    module, *args = MODULES[name]
    kwargs = args.pop() if isinstance(args[-1], dict) else {}
    net = compare(randomized(module), *args, dtype=dtype, **kwargs)
    assert not net.fallbacks
