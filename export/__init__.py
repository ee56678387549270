"""Checkpoint to ModelSpec and safetensors, to ONNX graphs, to proof that all of them agree. Needs the extra `export`."""
