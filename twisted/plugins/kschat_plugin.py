"""Tells twistd of kschat. Imports nothing of ours: it is read at every `twistd --help`, before a reactor is chosen."""

from twisted.application.service import ServiceMaker

kschat = ServiceMaker("kschat", "kschat.tap", "A chat server for Socket.IO clients.", "kschat")
