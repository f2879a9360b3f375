"""The admin page in a real browser: Chromium, where it is installed (apt-get install chromium)."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stress.browser import Browser
from stress.kit import eventually
from support import Service, Throng

pytestmark = [
    pytest.mark.stress,
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium: apt-get install chromium"),
]
ROWS = "document.querySelectorAll('#connections tbody tr').length"


def text_of(selector: str) -> str:
    return f"document.querySelector('{selector}').textContent"


def click(selector: str) -> str:
    return f"document.querySelector('{selector}').click()"


class Site:
    """A server with some peers, and its page."""

    def __init__(self, *options: object) -> None:
        self.service = Service("--admin", "tcp://127.0.0.1:0", *options)
        self.host, self.port = self.service.address
        endpoint = self.service.wait_for("admin listening")["endpoint"]
        self.page = endpoint.replace("tcp:", "http:") + "/"


@pytest.fixture
def site() -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def start(*options: object) -> Site:
        made.append(Site(*options))
        return made[-1]

    yield start
    for each in made:
        each.service.__exit__()


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[..., Browser]]:
    opened: list[Browser] = []

    def start(site: Site, **how: Any) -> Browser:
        path = shutil.which("chromium")
        assert path is not None
        opened.append(Browser(path, tmp_path / f"profile-{len(opened)}", **how))
        opened[-1].go(site.page)
        opened[-1].wait_for("document.querySelector('#state')?.textContent === 'serving'")
        return opened[-1]

    yield start
    for browser in opened:
        browser.__exit__()


@pytest.fixture
def peers(site: object) -> Iterator[Callable[[Site, int], list[socket.socket]]]:
    connected: list[socket.socket] = []

    def connect(site: Site, count: int) -> list[socket.socket]:
        for number in range(count):
            peer = socket.create_connection((site.host, site.port), 10)
            connected.append(peer)
            peer.sendall(b"x" * (number + 1))
            peer.recv(number + 1, socket.MSG_WAITALL)
        return connected

    yield connect
    for peer in connected:
        peer.close()


def test_connections_are_shown_sorted_filtered_explained_and_killed(site, browse, peers, tmp_path):
    served = site()
    connected = peers(served, 20)
    page = browse(served)
    page.wait_for(f"{ROWS} === 20")
    page.evaluate(click("th button[data-name=bytes_in]"))
    page.wait_for(f"{text_of('#connections tbody tr td:nth-child(6)')} === '20 B'")
    page.evaluate(click("th button[data-name=bytes_in]"))
    page.wait_for(f"{text_of('#connections tbody tr td:nth-child(6)')} === '1 B'")
    port = connected[4].getsockname()[1]
    page.evaluate(
        f"(document.querySelector('#filter').value = ':{port}', "
        "document.querySelector('#filter').dispatchEvent(new Event('input')))"
    )
    page.wait_for(f"{ROWS} === 1")
    page.evaluate(click("#connections tbody tr"))
    page.wait_for("document.querySelector('#details').open")
    assert "has sent nothing for" in page.evaluate(text_of("#details-why"))
    page.picture(tmp_path / "details.png")
    page.evaluate(click("#details-kill"))
    page.wait_for("document.querySelector('#ask').open")
    assert len(connected) == 20
    page.evaluate(click("#ask-yes"))
    page.wait_for(f"{ROWS} === 0")
    assert connected[4].recv(1) == b""
    assert page.complaints == []
    assert {address.partition("/api/")[0].rstrip("/") for address in page.requested if "/api/" in address} == {
        served.page.rstrip("/")
    }
    assert all(address.startswith((served.page, "data:")) for address in page.requested)


def test_faults_the_log_level_and_the_drain(site, browse, peers):
    served = site()
    (peer,) = peers(served, 1)
    page = browse(served)
    page.evaluate(
        "(document.querySelector('#rules').value = 'delay=10ms', document.querySelector('#seed').value = '7')"
    )
    page.evaluate(click("#set-faults button[type=submit]"))
    page.wait_for(f"{text_of('#faults')}.startsWith('delay=10ms (seed 7)')")
    page.evaluate(click("#clear"))
    page.wait_for(f"{text_of('#faults')}.startsWith('New connections meet none.')")
    page.evaluate(
        "(document.querySelector('#level').value = 'error', "
        "document.querySelector('#level').dispatchEvent(new Event('change')))"
    )
    page.wait_for(f"{text_of('#said')} === 'Logging from error upwards.'")
    page.evaluate(click("#drain"))
    page.wait_for("document.querySelector('#ask').open")
    page.evaluate(click("#ask-yes"))
    assert peer.recv(1) == b""
    page.wait_for(f"{text_of('#state')} === 'the server does not answer'")


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_needs_no_scrolling_to_the_side(site, browse, peers, dark, tmp_path):
    served = site()
    peers(served, 3)
    page = browse(served, width=390, height=844, dark=dark)
    page.wait_for(f"{ROWS} === 3")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.picture(tmp_path / "phone.png")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")


def test_five_thousand_connections_are_drawn_without_holding_up_the_page(site, browse, figures):
    served = site("--mode", "workers", "--max-connections", 6000)
    with Throng((served.host, served.port), 5000):
        page = browse(served)
        page.wait_for(f"{ROWS} === 1000")
        assert page.evaluate(text_of("#matched")) == "5,000 of 5,000 open, 1,000 shown; 6,000 allowed"
        slowest = page.evaluate(
            "new Promise((resolve) => { let last = performance.now(), worst = 0; const end = last + 3000; "
            "const look = (now) => { worst = Math.max(worst, now - last); last = now; "
            "now < end ? requestAnimationFrame(look) : resolve(worst); }; requestAnimationFrame(look); })"
        )
        figures.hold("slowest frame in three seconds, ms", slowest, most=500)


def test_what_is_saved_shows_it_all_without_a_script(site, browse, peers, tmp_path):
    served = site()
    peers(served, 3)
    page = browse(served)
    page.wait_for(f"{ROWS} === 3")
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.evaluate(click("#save"))
    saved = tmp_path / "saved.html"

    def is_there() -> bool:
        for file in tmp_path.glob("echoserver-*.html"):
            if file.stat().st_size:
                file.rename(saved)
        return saved.exists()

    assert eventually(is_there)
    text = saved.read_text()
    assert "saved 20" in text
    assert text.count("<tr") >= 4
    assert 'src="' not in text
    assert 'href="' not in text


def test_it_asks_nothing_while_it_is_hidden(site, browse):
    served = site()
    page = browse(served)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true})")
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 1200))")  # what was under way
    page.requested.clear()
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 2500))")
    assert page.requested == []
