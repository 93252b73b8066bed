import sys

from twisted.internet import reactor
from twisted.python.log import startLogging

from kschat.front.standalone import SocketIOService
from kschat.server import Refused, Server, Socket, Unanswered

server = Server(reactor)
rooms = server.of("/rooms")


@rooms.use
def has_a_name(socket: Socket) -> None:
    socket.data["name"] = socket.auth.get("name") or socket.query.get("name")
    if not socket.data["name"]:
        raise Refused("a name, please")


@rooms.on("join")
def join(socket: Socket, room: str) -> list[str]:
    socket.to(room).emit("joined", socket.data["name"])
    socket.join(room)
    return sorted(member.data["name"] for member in rooms.to(room).sockets)


@rooms.on("say")
async def say(socket: Socket, room: str, text: str) -> int:
    try:
        return len(await socket.to(room).timeout(2).emit("said", socket.data["name"], text))
    except Unanswered as missing:
        return len(missing.answers)


startLogging(sys.stdout)
service = SocketIOService(sys.argv[1], server, reactor)
service.startService()
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
reactor.run()
