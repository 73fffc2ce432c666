"""How a network is trained: the descent, what is recorded and measured along it, the Lightning module, its data and callbacks."""
