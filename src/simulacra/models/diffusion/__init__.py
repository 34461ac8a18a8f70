"""Diffusion and flow matching: noise that is refined step by step."""
