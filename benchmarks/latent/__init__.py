"""`python -m benchmarks.latent NAME`: what autoencoders do, each claim seen for itself."""
