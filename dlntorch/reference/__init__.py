"""The exact references: the ℓ1-minimiser, the minimiser that depth p selects, the rate with its constant."""
