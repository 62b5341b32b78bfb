"""What `make campaign` runs; see `__main__`."""
