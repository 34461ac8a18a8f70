"""All figures of a model, or of anyone's samples."""
