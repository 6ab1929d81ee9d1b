"""The commands, one idea a file; regulars.cli puts them together.

Heavy libraries load inside the commands, so that --help answers at once.
"""
