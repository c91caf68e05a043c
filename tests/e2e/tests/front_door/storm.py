"""Asks over TLS, by a kept connection and by new ones, until its input ends: HOST PORT CA.
Prints how many requests there were, which failed, and how many certificates were shown."""
import http.client, json, ssl, sys, threading

host, port = sys.argv[1], int(sys.argv[2])
trust = ssl.create_default_context(cafile=sys.argv[3])
stop = threading.Event()
counts, failed, shown = [0, 0], [], set()


class Connection(http.client.HTTPSConnection):
    """To this machine, for the host whose name is verified."""

    def connect(self):
        http.client.HTTPConnection.connect(self)
        self.sock = trust.wrap_socket(self.sock, server_hostname=host)


def ask(which):
    kept = None
    while not stop.is_set():
        try:
            if which == 1 or kept is None:
                kept = Connection("127.0.0.1", port, timeout=10)
            kept.request("GET", "/", headers={"Host": host})
            shown.add(kept.sock.getpeercert()["serialNumber"])
            answer = kept.getresponse()
            answer.read()
            if answer.status != 200:
                failed.append(answer.status)
            counts[which] += 1
        except Exception as error:
            failed.append(repr(error))
            kept = None


threads = [threading.Thread(target=ask, args=(which,)) for which in (0, 1)]
for thread in threads:
    thread.start()
sys.stdin.read()
stop.set()
for thread in threads:
    thread.join()
print(json.dumps({"kept": counts[0], "new": counts[1], "failed": failed[:20], "certificates": len(shown)}))
