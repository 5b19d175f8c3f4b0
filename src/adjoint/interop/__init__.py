"""Networks and weights from elsewhere, and back: PyTorch, ONNX, Hugging Face folders, safetensors."""
