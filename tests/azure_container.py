"""Makes the container `lake` in an Azure blob server. Reads {"url", "account", "key"} from standard input."""

import base64
import datetime
import hashlib
import hmac
import json
import sys
import urllib.request

asked = json.load(sys.stdin)
account, now = asked["account"], datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
version = "2021-08-06"
signed = f"PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{now}\nx-ms-version:{version}\n/{account}/{account}/lake\nrestype:container"
digest = hmac.new(base64.b64decode(asked["key"]), signed.encode(), hashlib.sha256).digest()
headers = {
    "x-ms-date": now,
    "x-ms-version": version,
    "Authorization": f"SharedKey {account}:{base64.b64encode(digest).decode()}",
}
request = urllib.request.Request(f"{asked['url']}/lake?restype=container", method="PUT", headers=headers)
print(urllib.request.urlopen(request).status)
