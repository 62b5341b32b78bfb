"""`python -m bnsweep.experiments`: expected numbers beside ours."""

from bnsweep.cli.experiments import main

if __name__ == "__main__":
    main()
