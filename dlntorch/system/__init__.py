"""What the operating system decides: the queue a run waits in, and standard streams that end nothing."""
