# Uploads a form by means of the requests library, and prints what came back.
# Arguments: URL, the field "to", file, its name, its type.
import hashlib
import sys

import requests

url, to, path, name, mime = sys.argv[1:]
response = requests.post(url, data={"to": to}, files={"file": (name, open(path, "rb").read(), mime)})
print(response.status_code, response.headers.get("x-cache"), hashlib.sha256(response.content).hexdigest())
