"""The laws of a latent cell before anything is seen, p(z | c): a file for each."""
