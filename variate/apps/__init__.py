"""One file per verb. Each has the verb's function for Python and ``command``, the same for the command line.

The file's name is the sub-command's name and the first line of its docstring the sub-command's help.
"""
