"""What every room stands on: how kernels are compiled and cached."""
