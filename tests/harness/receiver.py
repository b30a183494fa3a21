"""A receiver of webhooks on loopback.

Owns recording what was received, and answering as a test tells it. Must never verify: tests do.
"""

import http.server
import threading
import time


class Delivery:
    """One received request."""

    def __init__(self, path, headers, body):
        self.at = time.monotonic()
        self.answered_at = None
        self.path = path
        self.headers = headers
        self.body = body


class Receiver:
    """Listens on a free port; `answer(delivery)` gives the status, 200 by default."""

    def __init__(self, answer=None):
        self.deliveries = []
        self._changed = threading.Condition()
        receiver = self
        decide = answer or (lambda delivery: 200)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1
            timeout = 120

            def do_POST(self):  # noqa: N802 - the name that http.server calls
                length = int(self.headers.get("Content-Length", "0"))
                body = self.rfile.read(length)
                if len(body) < length:
                    self.close_connection = True  # cut off: nothing was delivered
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                delivery = Delivery(self.path, headers, body)
                status = decide(delivery)
                receiver._record(delivery)
                self.send_response_only(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                self.wfile.flush()
                delivery.answered_at = time.monotonic()

            def log_message(self, *_):
                pass

            def handle(self):
                try:
                    super().handle()
                except (ConnectionResetError, BrokenPipeError):
                    pass  # a killed daemon does not say goodbye

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 1024
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, path="/hook"):
        """A target URL of this receiver."""
        return "http://127.0.0.1:%d%s" % (self.port, path)

    def _record(self, delivery):
        with self._changed:
            self.deliveries.append(delivery)
            self._changed.notify_all()

    def wait(self, holds, seconds):
        """Waits until `holds(deliveries)`; answers whether it came to that."""
        with self._changed:
            return self._changed.wait_for(lambda: holds(self.deliveries), timeout=seconds)

    def close(self):
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
