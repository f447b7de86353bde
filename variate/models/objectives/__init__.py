"""What is minimised, and what is truly reported whatever is minimised: a file for each."""
