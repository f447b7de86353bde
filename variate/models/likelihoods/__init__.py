"""p(x | z, c): one file per likelihood or tight family. A name in a recipe is a class in a file's ``__all__``."""
