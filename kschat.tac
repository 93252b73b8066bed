"""For `twistd -ny kschat.tac`: settings come from the environment, and from the file that KSCHAT_CONFIG names."""

from twisted.application.service import Application

from kschat.tap import Options, makeService

application = Application("kschat")
makeService(Options()).setServiceParent(application)
