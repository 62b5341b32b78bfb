"""`python -m bnsweep.experiments`: expected numbers beside ours."""

from bnsweep.runs.interrupt import end_when_interrupted

if __name__ == "__main__":
    end_when_interrupted("interrupted; the experiments that were over are in the table")
    from bnsweep.cli.experiments import main

    main()
