"""Answers with what it heard as JSON, and echoes WebSocket messages."""
import base64, hashlib, json, os, struct
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("Upgrade", "").lower() == "websocket":
            return self.websocket()
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        heard = {"pod": os.environ["POD"], "method": self.command, "path": self.path, "body": body,
                 "headers": {name.lower(): value for name, value in self.headers.items()}}
        answer = json.dumps(heard).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_GET

    def websocket(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.wfile.flush()
        while True:
            first, second = self.rfile.read(2)
            mask, data = self.rfile.read(4), None
            data = bytes(b ^ mask[i % 4] for i, b in enumerate(self.rfile.read(second & 127)))
            if first & 15 == 8:
                break
            self.wfile.write(struct.pack("BB", first, len(data)) + data)
            self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("", 8080), Echo).serve_forever()
