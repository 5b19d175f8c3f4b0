"""Whole networks, ready to train, and real architectures from their configuration."""

from adjoint.models.bert import (
    BertForMaskedLM,
    BertForSequenceClassification,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
)
from adjoint.models.bert_encoder import BertConfig, BertModel, RobertaConfig, RobertaModel
from adjoint.models.checkpoint import load_checkpoint
from adjoint.models.config import ARCHITECTURES, from_config
from adjoint.models.encoder import EncoderClassifier
from adjoint.models.gpt import GPT
from adjoint.models.llama import Llama
from adjoint.models.mobilenet import MobileNet, MobileNetV2
from adjoint.models.resnet import BasicBlock, Bottleneck, ResNet, resnet18, resnet34, resnet50, resnet101, resnet152
from adjoint.models.t5 import T5, T5Encoder
from adjoint.models.tokenizer import tokenizer
from adjoint.models.unet import UNet
from adjoint.models.vit import ViTConfig, ViTForImageClassification, ViTModel

__all__ = [
    "ARCHITECTURES",
    "GPT",
    "T5",
    "BasicBlock",
    "BertConfig",
    "BertForMaskedLM",
    "BertForSequenceClassification",
    "BertModel",
    "Bottleneck",
    "EncoderClassifier",
    "Llama",
    "MobileNet",
    "MobileNetV2",
    "ResNet",
    "RobertaConfig",
    "RobertaForMaskedLM",
    "RobertaForSequenceClassification",
    "RobertaModel",
    "T5Encoder",
    "UNet",
    "ViTConfig",
    "ViTForImageClassification",
    "ViTModel",
    "from_config",
    "load_checkpoint",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "tokenizer",
]
