"""Adversarial models: a game between two players."""
