"""What a trained model is on disk, and what it says of rows."""
