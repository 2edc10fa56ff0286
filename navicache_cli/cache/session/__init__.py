"""What accompanies a generation: steps, branches, tensors kept, the log."""
