"""How far a step goes, and which way."""
