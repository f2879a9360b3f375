"""What testssl.sh finds at the TLS port."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from stress.kit import Figures, stop
from stress.tls_kit import needed

pytestmark = [pytest.mark.stress, pytest.mark.timeout(300)]

HARMLESS = {"OK", "INFO", "LOW", "DEBUG"}
ALSO_HARMLESS = {"scanProblem"}


def audit(certificates, server, folder: Path) -> dict[str, dict[str, str]]:
    """Run testssl.sh and return its findings by their names. Everything is on the loopback interface."""
    report = folder / "report.json"
    quiet = ["--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1"]
    command = [needed("testssl", "testssl.sh"), *quiet, "--add-ca", certificates.authority, "--jsonfile", report]
    host = f"localhost:{server.secure[1]}"
    subprocess.run([*map(str, command), host], capture_output=True, stdin=subprocess.DEVNULL, timeout=280, cwd=folder)
    return {finding["id"]: finding for finding in json.loads(report.read_text())}


@pytest.mark.parametrize("oldest", ["1.2", "1.3"])
def test_nothing_is_rated_above_low(secure, certificates, tmp_path, figures: Figures, oldest):
    server = secure("--tls-min-version", oldest)
    findings = audit(certificates, server, tmp_path)
    for name in ("TLS1", "TLS1_1", "TLS1_2", "TLS1_3", "overall_grade", "final_score"):
        if name in findings:
            figures.note(name, findings[name]["finding"])
    worse = {name: found for name, found in findings.items() if found["severity"] not in HARMLESS}
    assert worse == {}
    assert findings["TLS1_3"]["severity"] == "OK"
    assert findings["TLS1_2"]["finding"].startswith("offered" if oldest == "1.2" else "not offered")
    assert findings["secure_client_renego"]["severity"] == "OK" if oldest == "1.2" else True
    stop(server)
