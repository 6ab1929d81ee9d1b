"""The office's work: what marketers' programs ask, done by the same jobs as on the command line."""
