"""A page of another site, in a real browser that has the app open: it presses nothing here."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Served

pytestmark = pytest.mark.browser
_TRY = """async ([app, asks]) => {
  const said = []
  for (const [path, more] of asks) {
    try {
      const answer = await fetch(app + path, {credentials: 'include', ...more})
      said.push(answer.type + ' ' + answer.status)
    } catch (error) { said.push('failed') }
  }
  return said
}"""


@pytest.fixture(scope="module")
def another_site() -> Iterator[str]:
    class Empty(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>another site</title>")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()


def test_another_site_reads_and_presses_nothing(
    browser: Browser, served: Served, another_site: str
) -> None:
    context = browser.new_context()
    page = context.new_page()
    statuses: list[int] = []
    page.on("response", lambda answer: statuses.append(answer.status)
            if answer.url.startswith(served.address) else None)  # fmt: skip
    page.goto(another_site)
    api = "/gradio_api"
    body = json.dumps({"data": [], "fn_index": 0, "session_hash": "s"})
    post = {"method": "POST", "mode": "no-cors", "body": body}
    asks = [
        [f"{api}/queue/join", post],
        [f"{api}/queue/join", {**post, "mode": "cors"}],
        [f"{api}/cancel", post],
        [f"{api}/upload", post],
        ["/config", {"mode": "cors"}],
        ["/config", {"mode": "no-cors"}],
        [f"{api}/heartbeat/s", {"mode": "no-cors"}],
        ["/logout", {"mode": "no-cors"}],
    ]
    said = page.evaluate(_TRY, [served.address, asks])
    # What is not refused to the page outright is opaque to it, and the app said no.
    assert all(each in ("failed", "opaque 0") for each in said)
    assert statuses and set(statuses) == {403}
    page.evaluate(
        """app => {
          const form = document.createElement('form')
          form.method = 'POST'; form.action = app + '/gradio_api/queue/join'
          document.body.append(form); form.submit()
        }""",
        served.address,
    )
    page.wait_for_url(f"{served.address}/**")
    assert "page of another site" in page.content()
    page.goto(another_site)
    page.evaluate(
        """app => {
          const frame = document.createElement('iframe')
          frame.src = app; document.body.append(frame)
        }""",
        served.address,
    )
    page.wait_for_timeout(1000)
    assert all("WhisperSlim" not in each.content() for each in page.frames[1:])
    # A link from elsewhere opens the page itself.
    page.goto(another_site)
    page.evaluate("app => { location.href = app }", served.address)
    page.locator("#forecast .ws-big, #comparison").filter(visible=True).first.wait_for()
    context.close()
