"""Sockets and HTTP come in here."""
