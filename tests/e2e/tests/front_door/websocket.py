"""Opens a WebSocket through the gateway, says something, and prints what comes back: HOST PORT [CA]."""
import os, socket, ssl, sys

host, port = sys.argv[1], int(sys.argv[2])
stream = socket.create_connection(("127.0.0.1", port), timeout=10)
if len(sys.argv) > 3:
    stream = ssl.create_default_context(cafile=sys.argv[3]).wrap_socket(stream, server_hostname=host)
stream.sendall((f"GET /chat HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode())
reader = stream.makefile("rb")
status = reader.readline().decode()
headers = {}
while (line := reader.readline().decode().strip()):
    name, _, value = line.partition(":")
    headers[name.lower()] = value.strip()
assert " 101 " in status, status
assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", headers
for text in (b"hello", b"again"):
    mask = os.urandom(4)
    stream.sendall(bytes([0x81, 0x80 | len(text)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(text)))
    head = reader.read(2)
    print(reader.read(head[1]).decode())
stream.sendall(bytes([0x88, 0x80]) + os.urandom(4))
