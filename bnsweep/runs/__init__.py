"""From jobs to trained and logged runs: plan, memory, executors, progress, ledger."""
