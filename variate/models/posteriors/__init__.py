"""The laws of a latent cell that an encoder gives, q(z | x, c): a file for each."""
