"""What others made, in our form."""
