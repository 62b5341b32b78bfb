"""Sweeps from Python: `bnsweep.sweep(...)` gives a Result, in a notebook, a script or a thread."""
