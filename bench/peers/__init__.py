"""What can be measured: how to start it and how to speak to it."""
