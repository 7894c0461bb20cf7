# apertium-apy on a free loopback port, which is printed: by itself it listens
# on all interfaces. It ends when its standard input does.
import sys

import tornado.httpserver
import tornado.ioloop
import tornado.netutil
from apertium_apy import apy

server = tornado.httpserver.HTTPServer(apy.setup_application(apy.parse_args(["/usr/share/apertium/modes"])))
sockets = tornado.netutil.bind_sockets(0, "127.0.0.1")
server.add_sockets(sockets)
print(sockets[0].getsockname()[1], flush=True)
loop = tornado.ioloop.IOLoop.current()
loop.add_handler(sys.stdin, lambda *_: loop.stop(), loop.READ)
loop.start()
