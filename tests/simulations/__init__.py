"""Sweeps drawn from a known truth, and how often the report's statistics are right about them."""
