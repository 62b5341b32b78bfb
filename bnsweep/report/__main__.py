"""`python -m bnsweep.report`: the report of a tracked sweep, or two sweeps side by side."""

from bnsweep.cli.report import main

if __name__ == "__main__":
    main()
