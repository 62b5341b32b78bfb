"""bnsweep: which of activation, initialisation, learning rate and BatchNorm placement mattered?"""

__version__ = "0.1.0"
