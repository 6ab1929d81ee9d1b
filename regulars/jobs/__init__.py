"""Jobs: plain functions that read, call the mathematics and write."""
