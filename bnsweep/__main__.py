"""`python -m bnsweep`: one run, or a sweep with -m."""

from bnsweep.cli.sweep import main

if __name__ == "__main__":
    main()
