"""The command line, the jobs that cross domains, and the one file where parts are put together."""
