"""`python -m bnsweep.experiments`: expected numbers beside ours."""

if __name__ == "__main__":
    try:
        from bnsweep.runs.interrupt import end_when_interrupted

        end_when_interrupted("interrupted; the experiments that were over are in the table")
    except KeyboardInterrupt:  # in the milliseconds before it is heard
        raise SystemExit(130) from None
    from bnsweep.cli.experiments import main

    main()
