"""Many runs: the points of a sweep, their launchers and jobs, packing them into one run, and collecting them."""
