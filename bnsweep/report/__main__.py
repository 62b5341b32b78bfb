"""`python -m bnsweep.report`: the report of a tracked sweep, or two sweeps side by side."""

from bnsweep.runs.interrupt import end_when_interrupted

if __name__ == "__main__":
    end_when_interrupted("interrupted")
    from bnsweep.cli.report import main

    main()
