"""A real RTSP server (gst-rtsp-server) for the tests; run by Debian's own Python, which has its bindings.

Usage: rtsp_server.py ADDRESS PORT MOUNT=RTP_PORT… [--user NAME --password SECRET]
Each mount relays the H.264 that an FFmpeg publishes as RTP to 127.0.0.1:RTP_PORT.
"""

import argparse
import os
import sys
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

RELAY = (
    "( udpsrc address=127.0.0.1 port={port} buffer-size=4000000 "
    'caps="application/x-rtp,media=video,clock-rate=90000,encoding-name=H264,payload=96" '
    "! rtph264depay ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("port")
    parser.add_argument("mounts", nargs="+")
    parser.add_argument("--user")
    parser.add_argument("--password")
    args = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(args.address)
    server.set_service(args.port)
    if args.user:
        auth = GstRtspServer.RTSPAuth()
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth.add_digest(args.user, args.password, token)
        server.set_auth(auth)
    for mount in args.mounts:
        name, _, port = mount.partition("=")
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(RELAY.format(port=port))
        factory.set_shared(True)
        if args.user:
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role("user", "media.factory.access", True)
            permissions.add_permission_for_role("user", "media.factory.construct", True)
            factory.set_permissions(permissions)
        server.get_mount_points().add_factory(f"/{name}", factory)
    while not server.attach(None):  # a port whose last user was killed is not free at once
        time.sleep(0.2)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    loop, parent = GLib.MainLoop(), os.getppid()

    def look() -> bool:
        if os.getppid() != parent:  # whoever would have ended this is gone
            loop.quit()
        return True

    GLib.timeout_add_seconds(5, look)
    loop.run()


if __name__ == "__main__":
    main()
