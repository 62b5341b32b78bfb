"""`python -m bnsweep.ui`: MLflow's pages of a store, on this machine."""

if __name__ == "__main__":
    from bnsweep.cli.ui import main

    main()
