"""Mirrors `kschat/server`: a server with an application of its own, and clients in memory."""
