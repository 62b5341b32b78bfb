"""Hydra plugins: a launcher that hands all jobs of a sweep to the task at once, and the sweeper that goes with it.

Hydra imports every module in here to find them, on every start and even if already imported: keep them light, and
import nothing in this file.
"""
