"""What a network is: plain modules, and many of them as one stack."""
