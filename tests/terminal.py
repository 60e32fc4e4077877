"""Runs a command on a pseudo-terminal of some columns, and types lines at it.

In: {"command": [...], "env": {...}, "columns": 80, "lines": ["..."]} as JSON. Out: {"code": 0, "text": "..."}.
"""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios

asked = json.load(sys.stdin)
ours, theirs = pty.openpty()
fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, asked["columns"], 0, 0))
child = subprocess.Popen(
    asked["command"], env=asked["env"], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
)
os.close(theirs)
os.write(ours, "".join(line + "\n" for line in asked["lines"]).encode())
text = b""
while True:
    try:
        read = os.read(ours, 65536)
    except OSError:  # Linux's way to say that the other side is closed.
        break
    if not read:
        break
    text += read
json.dump({"code": child.wait(), "text": text.decode().replace("\r\n", "\n")}, sys.stdout)
