"""What a run is: the groups as dataclasses, their checks, which runs are the same run."""
