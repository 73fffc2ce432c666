"""Where the gradient flow ends: ψ(∞), by the central path, for one problem, for a batch, and to any number of digits."""
