"""Autoregressive models: each value predicted from those before it."""
