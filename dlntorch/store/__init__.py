"""What is kept on disk: the run folder, how it is read again, and what computed it."""
