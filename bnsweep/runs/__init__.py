"""From jobs to trained and logged runs: plan, memory, workers, progress."""
