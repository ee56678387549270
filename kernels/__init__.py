"""Triton kernels, each beside its plain PyTorch twin. Part 6 of the plan builds them; `engine.backends` uses them."""
