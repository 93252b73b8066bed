"""One module for each thing outside the process."""
