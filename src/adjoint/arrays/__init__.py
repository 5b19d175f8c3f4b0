"""The seam to NumPy, PyTorch, JAX and to arrays that only have shapes: one list of functions, dispatched by type."""

from adjoint.arrays.activations import *  # noqa: F403
from adjoint.arrays.alignment import ctc_loss as ctc_loss
from adjoint.arrays.alignment import ctc_residual as ctc_residual
from adjoint.arrays.attention import attend as attend
from adjoint.arrays.attention import attend_cotangents as attend_cotangents
from adjoint.arrays.attention import attend_residual as attend_residual
from adjoint.arrays.attention_forms import attention_weights as attention_weights
from adjoint.arrays.attention_forms import scaled_dot_product_attention as scaled_dot_product_attention
from adjoint.arrays.attention_linear import linear_attention as linear_attention
from adjoint.arrays.convolutions import *  # noqa: F403
from adjoint.arrays.dispatch import FUNCTIONS as FUNCTIONS
from adjoint.arrays.elementwise import *  # noqa: F403
from adjoint.arrays.layout import *  # noqa: F403
from adjoint.arrays.linalg import *  # noqa: F403
from adjoint.arrays.losses import *  # noqa: F403
from adjoint.arrays.margins import *  # noqa: F403
from adjoint.arrays.normalization import *  # noqa: F403
from adjoint.arrays.piecewise import *  # noqa: F403
from adjoint.arrays.pooling import adaptive_avg_pool1d as adaptive_avg_pool1d
from adjoint.arrays.pooling import adaptive_avg_pool2d as adaptive_avg_pool2d
from adjoint.arrays.pooling import adaptive_avg_pool3d as adaptive_avg_pool3d
from adjoint.arrays.pooling import adaptive_max_pool1d as adaptive_max_pool1d
from adjoint.arrays.pooling import adaptive_max_pool2d as adaptive_max_pool2d
from adjoint.arrays.pooling import adaptive_max_pool3d as adaptive_max_pool3d
from adjoint.arrays.pooling import avg_pool1d as avg_pool1d
from adjoint.arrays.pooling import avg_pool2d as avg_pool2d
from adjoint.arrays.pooling import avg_pool3d as avg_pool3d
from adjoint.arrays.pooling import lp_pool1d as lp_pool1d
from adjoint.arrays.pooling import lp_pool2d as lp_pool2d
from adjoint.arrays.pooling import lp_pool3d as lp_pool3d
from adjoint.arrays.pooling import max_pool as max_pool
from adjoint.arrays.pooling import max_pool1d as max_pool1d
from adjoint.arrays.pooling import max_pool2d as max_pool2d
from adjoint.arrays.pooling import max_pool3d as max_pool3d
from adjoint.arrays.pooling import max_unpool1d as max_unpool1d
from adjoint.arrays.pooling import max_unpool2d as max_unpool2d
from adjoint.arrays.pooling import max_unpool3d as max_unpool3d
from adjoint.arrays.pooling import pick as pick
from adjoint.arrays.pooling import place as place
from adjoint.arrays.positions import rotate as rotate
from adjoint.arrays.products import *  # noqa: F403
from adjoint.arrays.quantized import quantized_linear as quantized_linear
from adjoint.arrays.random import dropout as dropout
from adjoint.arrays.random import random_bits as random_bits
from adjoint.arrays.random import random_mask as random_mask
from adjoint.arrays.recurrent import *  # noqa: F403
from adjoint.arrays.reductions import *  # noqa: F403
from adjoint.arrays.resampling import channel_shuffle as channel_shuffle
from adjoint.arrays.resampling import interpolate as interpolate
from adjoint.arrays.resampling import pixel_shuffle as pixel_shuffle
from adjoint.arrays.resampling import pixel_unshuffle as pixel_unshuffle
from adjoint.arrays.resampling import resample as resample
from adjoint.arrays.self_attention import self_attention as self_attention
from adjoint.arrays.updates import *  # noqa: F403
