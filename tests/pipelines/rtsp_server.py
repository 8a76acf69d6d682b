# SPDX-License-Identifier: MPL-2.0
"""An RTSP server: rtsp_server.py PIPELINE, with payloaders named pay0 and so on. Prints its address
and serves until its standard input is closed."""

import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
server = GstRtspServer.RTSPServer(address="127.0.0.1", service="0")
factory = GstRtspServer.RTSPMediaFactory(launch=f"( {sys.argv[1]} )")
server.get_mount_points().add_factory("/talk", factory)
server.attach(None)
print(f"rtsp://127.0.0.1:{server.get_bound_port()}/talk", flush=True)

loop = GLib.MainLoop()


def quit_with_parent():
    sys.stdin.read()
    loop.quit()


threading.Thread(target=quit_with_parent, daemon=True).start()
loop.run()
