"""What is proved about a run: its distance from the flow, the start that it amounts to, and step sizes that select rightly."""
