"""Statistics of a sweep: arrays and frames in, numbers out."""
