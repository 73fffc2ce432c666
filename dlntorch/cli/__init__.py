"""The commands: what they accept, print and return, and how a run is resumed or repeated."""
