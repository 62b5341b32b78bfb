"""Datasets as tensors, their splits, and the order of batches."""
