"""What `make` calls: not part of the package."""
