"""Named experiments: published numbers beside ours. `python -m bnsweep.experiments --help`."""
