"""The documentation: its code runs, its commands compose, and what it says is what the code has."""
