"""The frozen fleet: small runs of every kind whose θ a redesign must not change, to the bit (``python -m tests.fleet``)."""
