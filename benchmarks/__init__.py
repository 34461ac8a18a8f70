"""What models cost: seconds, FLOPs and memory of training and sampling. `python -m benchmarks`."""
