"""The families of models; a family never imports another."""
