"""Named experiments: expected numbers beside ours. `python -m bnsweep.experiments --help`."""
