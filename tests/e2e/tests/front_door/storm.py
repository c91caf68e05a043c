"""Asks over kept and new connections until its input ends; prints how many requests there were and which failed."""
import http.client, json, sys, threading

host, port = sys.argv[1], int(sys.argv[2])
stop = threading.Event()
counts, failed = [0, 0], []


def ask(which):
    kept = None
    while not stop.is_set():
        try:
            if which == 1 or kept is None:
                kept = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            kept.request("GET", "/", headers={"Host": host})
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
print(json.dumps({"kept": counts[0], "new": counts[1], "failed": failed[:20]}))
