# Reads pairs of multipart bodies by the parser of Python's email package, and
# fails where it finds different things in the bodies of a pair.
import email.parser
import email.policy
import json
import sys


def read(body, kind):
    text = b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body.encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(text)
    if message.defects or not message.is_multipart():
        return None
    out = []
    for part in message.iter_parts():
        disposition = part["content-disposition"]
        if part.defects or disposition is not None and disposition.defects:
            return None
        headers = sorted((k.lower(), str(v)) for k, v in part.items() if k.lower() != "content-disposition")
        said = disposition and (disposition.content_disposition, sorted(disposition.params.items()))
        out.append((said, headers, part.get_payload()))
    return out


both, failed = 0, False
pairs = json.load(sys.stdin)
for pair in pairs:
    a, b = read(pair["A"], pair["TypeA"]), read(pair["B"], pair["TypeB"])
    if a is None or b is None:
        continue
    both += 1
    if a != b:
        failed = True
        print("read differently:", repr(pair["A"]), a, repr(pair["B"]), b)
print(f"{len(pairs)} pairs, both read of {both}")
sys.exit(failed or both < len(pairs) / 10)
