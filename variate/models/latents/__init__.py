"""The latent variables: a file for each, and the one walk that all of them write (``latent``)."""
