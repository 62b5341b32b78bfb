"""A training step's kernels in Triton, each with a twin in torch. They know tensors and numbers, nothing of runs."""
