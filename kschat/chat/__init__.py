"""What the server is for: knows no socket, no broker, no SQL."""
