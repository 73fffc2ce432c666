"""What can be proved about a run: where its steps really start it from, and which step sizes cannot change the answer."""
