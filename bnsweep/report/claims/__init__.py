"""The note's claims: what is compared, how it is measured, what it says."""
