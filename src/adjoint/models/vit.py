"""ViT: a picture cut into patches that see each other as the words of a text do, with Hugging Face's file names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from adjoint import arrays as xp
from adjoint.arrays.dispatch import Array
from adjoint.models.checkpoint import Naming
from adjoint.models.config import ACTIVATIONS, Fields
from adjoint.models.encoding import Dense, Encoding, Layers, SelfAttention, draw_parameters, labels
from adjoint.models.images import check_images
from adjoint.nn import init
from adjoint.nn.convolution import Conv2d
from adjoint.nn.dropout import Dropout
from adjoint.nn.layers import Linear, Rng
from adjoint.nn.module import Module
from adjoint.nn.normalization import LayerNorm

# transformers 5 has other names in memory than in files
IN_MEMORY = (
    (r"encoder\.layer\.(\d+)\.", r"layers.\1."),
    (r"\.attention\.attention\.query\.", ".attention.q_proj."),
    (r"\.attention\.attention\.key\.", ".attention.k_proj."),
    (r"\.attention\.attention\.value\.", ".attention.v_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)
MASK = r"embeddings\.mask_token"


@dataclass(frozen=True)
class ViTConfig:
    """The sizes and choices of a ViT, with the names and defaults of its `config.json` (Dosovitskiy et al. 2020).

    `image_size` and `patch_size` are (height, width); `num_labels` counts the classes of a classifier.

    >>> ViTConfig().patches
    (14, 14)
    """

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    layer_norm_eps: float = 1e-12
    image_size: tuple[int, int] = (224, 224)
    patch_size: tuple[int, int] = (16, 16)
    num_channels: int = 3
    qkv_bias: bool = True
    pooler_output_size: int | None = None
    pooler_act: str = "tanh"
    num_labels: int = 2

    @property
    def patches(self) -> tuple[int, int]:
        """How many patches there are from top to bottom and from left to right."""
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]


class PatchEmbeddings(Module):
    """Patches as vectors: a convolution whose stride is its size."""

    def __init__(self, config: ViTConfig, dtype: Any, rng: Rng) -> None:
        patch, channels = config.patch_size, config.num_channels
        self.projection = Conv2d(channels, config.hidden_size, patch, patch, dtype=dtype, rng=rng)

    def __call__(self, images: Array) -> Array:
        """Images (N, C, H, W) as vectors (N, patches, hidden_size), row by row."""
        return xp.swapaxes(xp.flatten(self.projection(images), 2), 1, 2)


class Embeddings(Module):
    """A vector that is learned, then those of the patches, to all of which a vector for its position is added."""

    def __init__(self, config: ViTConfig, dtype: Any, rng: Rng) -> None:
        count = config.patches[0] * config.patches[1] + 1
        self.cls_token: Array = init.normal((1, 1, config.hidden_size), 1.0, rng, dtype)
        self.position_embeddings: Array = init.normal((1, count, config.hidden_size), 1.0, rng, dtype)
        self.patch_embeddings = PatchEmbeddings(config, dtype, rng)
        self.dropout = Dropout(config.hidden_dropout_prob, rng=rng)

    def __call__(self, images: Array) -> Array:
        """The vectors (N, 1 + patches, hidden_size)."""
        patches = self.patch_embeddings(images)
        first = xp.broadcast_to(self.cls_token, (patches.shape[0], 1, patches.shape[2]))
        return self.dropout(xp.concatenate([first, patches], 1) + self.position_embeddings)


class Attention(Module):
    """Attention of every position to every other, mixed."""

    def __init__(self, config: ViTConfig, dtype: Any, rng: Rng) -> None:
        width, dropout = config.hidden_size, config.attention_probs_dropout_prob
        self.attention = SelfAttention("ViT", width, config.num_attention_heads, dropout, config.qkv_bias, dtype, rng)
        self.output = Dense(width, width, dtype, rng)

    def __call__(self, x: Array) -> Array:
        """What every position gets from the others."""
        return self.output(self.attention(x))


class Layer(Module):
    """x + attention(norm(x)), then x + dense(act(dense(norm(x))))."""

    def __init__(self, config: ViTConfig, dtype: Any, rng: Rng) -> None:
        width, inner, eps = config.hidden_size, config.intermediate_size, config.layer_norm_eps
        self.act = config.hidden_act
        self.attention = Attention(config, dtype, rng)
        self.intermediate = Dense(width, inner, dtype, rng)
        self.output = Dense(inner, width, dtype, rng)
        self.layernorm_before = LayerNorm(width, eps, dtype=dtype)
        self.layernorm_after = LayerNorm(width, eps, dtype=dtype)
        self.dropout = Dropout(config.hidden_dropout_prob, rng=rng)

    def __call__(self, x: Array) -> Array:
        """x through the layer."""
        x = x + self.dropout(self.attention(self.layernorm_before(x)))
        inner = ACTIVATIONS[self.act](self.intermediate(self.layernorm_after(x)))
        return x + self.dropout(self.output(inner))


class ViTModel(Module):
    """Images (N, num_channels, H, W) as `Encoding`: vectors (N, 1 + patches, hidden_size), and the first one pooled.

    H and W are `image_size`. Weights start N(0, 0.02²), biases 0. Names are those of files
    (`encoder.layer.0.attention.attention.query.weight`); `aj.models.load_checkpoint` also takes those that
    transformers 5 has in memory. Raises `ShapeError` for other images, ValueError for sizes that do not fit
    (Dosovitskiy et al. 2020).

    >>> import numpy as np, adjoint as aj
    >>> config = aj.models.ViTConfig(8, 1, 2, 16, image_size=(8, 12), patch_size=(4, 4))
    >>> hidden, pooled = aj.models.ViTModel(config, rng=0)(np.ones((2, 3, 8, 12), "float32"))
    >>> hidden.shape, pooled.shape
    ((2, 7, 8), (2, 8))
    """

    naming: ClassVar[Naming] = Naming("vit.", skipped=f"{MASK}|(pooler|classifier)\\..*", respelled=IN_MEMORY)

    def __init__(
        self, config: ViTConfig | None = None, add_pooling_layer: bool = True, dtype: Any = "float32", rng: Rng = None
    ) -> None:
        config, rng = config or ViTConfig(), init.generator(rng)
        for name, act in (("hidden_act", config.hidden_act), ("pooler_act", config.pooler_act)):
            if act not in ACTIVATIONS:
                raise ValueError(f"ViT: {name} is one of {', '.join(ACTIVATIONS)}, not {act!r}.")
        if min(config.patches) < 1:
            raise ValueError(f"ViT: a patch {config.patch_size} is larger than the image {config.image_size}.")
        self.channels, self.image_size, self.act = config.num_channels, config.image_size, config.pooler_act
        self.embeddings = Embeddings(config, dtype, rng)
        self.encoder = Layers([Layer(config, dtype, rng) for _ in range(config.num_hidden_layers)])
        self.layernorm = LayerNorm(config.hidden_size, config.layer_norm_eps, dtype=dtype)
        outputs = config.pooler_output_size or config.hidden_size
        self.pooler = Dense(config.hidden_size, outputs, dtype, rng) if add_pooling_layer else None
        draw_parameters(self, rng, dtype)

    def __call__(self, pixel_values: Array) -> Encoding:
        """The vectors of all positions, and the pooled one."""
        check_images("ViT", pixel_values, self.channels, self.image_size)
        x = self.layernorm(self.encoder(self.embeddings(pixel_values)))
        return Encoding(x, None if self.pooler is None else ACTIVATIONS[self.act](self.pooler(x[:, 0])))


class ViTForImageClassification(Module):
    """Scores (N, num_labels) of classes of images (N, num_channels, H, W), linear in the first vector.

    >>> import numpy as np, adjoint as aj
    >>> with aj.nn.init.only_shapes():
    ...     net = aj.models.ViTForImageClassification(aj.models.ViTConfig(num_labels=1000))
    >>> aj.nn.count_parameters(net)
    86567656
    """

    naming: ClassVar[Naming] = Naming(skipped=rf"vit\.{MASK}|vit\.pooler\..*", respelled=IN_MEMORY)

    def __init__(self, config: ViTConfig | None = None, dtype: Any = "float32", rng: Rng = None) -> None:
        config, rng = config or ViTConfig(), init.generator(rng)
        self.vit = ViTModel(config, False, dtype, rng)
        self.classifier = Linear(config.hidden_size, config.num_labels, dtype=dtype, rng=rng)
        draw_parameters(self.classifier, rng, dtype)

    def __call__(self, pixel_values: Array) -> Array:
        """The scores."""
        return self.classifier(self.vit(pixel_values).hidden[:, 0])


VIT: Mapping[str, type[ViTModel | ViTForImageClassification]] = {
    "ViTModel": ViTModel,
    "ViTForImageClassification": ViTForImageClassification,
}


def vit(fields: Fields, dtype: Any = "float32", rng: Rng = None) -> Any:
    """The ViT of a configuration, of the class that it names.

    >>> net = vit(Fields({"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": [32, 64]}))
    >>> net.image_size, net.embeddings.position_embeddings.shape
    ((32, 64), (1, 9, 8))
    """
    _, network = fields.architecture(VIT)
    d = ViTConfig()
    fields.get("encoder_stride")  # of a decoder for masked images, which is not in these classes
    width = fields.integer("hidden_size", d.hidden_size)
    return network(
        ViTConfig(
            width,
            fields.layers("num_hidden_layers", d.num_hidden_layers),
            fields.integer("num_attention_heads", d.num_attention_heads),
            fields.integer("intermediate_size", d.intermediate_size),
            fields.activation("hidden_act", d.hidden_act),
            fields.number("hidden_dropout_prob", d.hidden_dropout_prob, most=1.0),
            fields.number("attention_probs_dropout_prob", d.attention_probs_dropout_prob, most=1.0),
            fields.number("layer_norm_eps", d.layer_norm_eps),
            _pair(fields, "image_size", d.image_size),
            _pair(fields, "patch_size", d.patch_size),
            fields.integer("num_channels", d.num_channels),
            fields.flag("qkv_bias", d.qkv_bias),
            fields.integer("pooler_output_size", width),
            fields.activation("pooler_act", d.pooler_act),
            labels(fields),
        ),
        dtype=dtype,
        rng=rng,
    )


def _pair(fields: Fields, name: str, default: tuple[int, int]) -> tuple[int, int]:
    """A size for both directions, given as one number or as two."""
    found = fields.get(name, default)
    pair = tuple(found) if isinstance(found, (list, tuple)) else (found, found)
    if len(pair) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and 0 < n < 1 << 16 for n in pair):
        raise fields.error(f"{name} is to be one positive integer, or two for height and width, not {found!r}")
    return pair
