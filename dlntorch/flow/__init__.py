"""The gradient flow θ̇ = −∇L(θ), integrated."""
