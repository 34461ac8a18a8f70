"""Latent-variable models: a decoder and its approximate posterior."""
