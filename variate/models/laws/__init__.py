"""Laws that ``torch.distributions`` lacks, one family to a file."""
