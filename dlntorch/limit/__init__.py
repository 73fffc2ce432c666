"""ψ(∞): where the gradient flow ends."""
