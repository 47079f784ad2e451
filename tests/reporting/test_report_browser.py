"""A report in a real browser, on a desk, on a phone, in the dark and on paper."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from commandline import fca_edge
from conftest import ROOT
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt install chromium)"),
]
QUIET = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--no-first-run"),
    *("--disable-sync", "--disable-default-apps", "--enable-logging=stderr"),
)
WIDTHS = {"desk": 1200, "phone": 390}
HEIGHT = 2000
# What the browser asks for of itself.
OWN = re.compile(r"https?://[\w.-]+\.(?:google|googleapis|gvt1)\.com[/:]")


def browse(folder: Path, page: Path, *flags: str) -> list[str]:
    """Open a page; returns what the console says and every address that was asked for."""
    assert CHROMIUM is not None
    log = folder / "net.json"
    words = [CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    done = subprocess.run(
        [*words, *flags, page.as_uri()], capture_output=True, text=True, timeout=120, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    addresses = set(re.findall(r'"url":"((?:https?|wss?)://[^"]*)"', log.read_text()))
    return console + sorted(one for one in addresses if not OWN.match(one))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    results = ROOT / "bench" / "results"
    sources = [results / f"{n}.json" for n in ("latency-x86_64", "peers-l1", "precision-arm-l1")]
    done = fca_edge("report", *sources, "--out", folder / "report.html")
    assert done.returncode == 0, done.stderr
    return folder / "report.html"


@pytest.mark.parametrize("device", WIDTHS)
@pytest.mark.parametrize("flags", [(), ("--blink-settings=preferredColorScheme=0",)])
def test_it_shows_without_a_word(
    page: Path, tmp_path: Path, device: str, flags: tuple[str, ...]
) -> None:
    width, shot = WIDTHS[device], tmp_path / "shot.png"
    said = browse(tmp_path, page, f"--screenshot={shot}", f"--window-size={width},{HEIGHT}", *flags)
    assert said == []
    image = Image.open(shot).convert("L")
    assert image.size == (width, HEIGHT)
    corner = image.getpixel((2, 2))
    assert isinstance(corner, int) and (corner < 60) == bool(flags)
    # Something is drawn all the way down, and nothing runs out at the right.
    edge = image.crop((width - 6, 0, width, HEIGHT))
    assert len(edge.getcolors()) == 1
    for top in range(0, HEIGHT, 500):
        assert len(image.crop((0, top, width, top + 500)).getcolors()) > 20


def test_it_prints(page: Path, tmp_path: Path) -> None:
    assert browse(tmp_path, page, f"--print-to-pdf={tmp_path / 'report.pdf'}") == []
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_tables_sort_by_figures(page: Path, tmp_path: Path) -> None:
    """In a copy without its policy, whose script is followed by clicks."""
    clicks = """
    const table = document.querySelector("#choice table");
    const rows = table.tBodies[0].rows;
    const read = () => [...rows].map((row) => parseFloat(row.cells[3].textContent));
    const heading = table.tHead.rows[0].cells[3];
    heading.click(); const up = read(); heading.click(); const down = read();
    document.title = JSON.stringify([up, down]);
    """
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    copy = tmp_path / "copy.html"
    copy.write_text(text.replace("</body>", f"<script>{{{clicks}}}</script></body>"))
    assert CHROMIUM is not None
    words = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'p'}", "--dump-dom", copy.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title, done.stderr
    up, down = json.loads(title[1])
    assert len(up) > 5 and up == sorted(up) and down == sorted(up, reverse=True)


@pytest.mark.parametrize("more", ["<script>1</script>", '<img src="https://example.org/x.png">'])
def test_a_script_or_a_request_would_be_seen(page: Path, tmp_path: Path, more: str) -> None:
    copy = tmp_path / "copy.html"
    copy.write_text(page.read_text().replace("</body>", f"{more}</body>"))
    assert any("Content Security Policy" in line for line in browse(tmp_path, copy, "--dump-dom"))
