"""What `make bench` runs; see `__main__`. Needs torch and numpy; an arm whose library is missing says so."""
