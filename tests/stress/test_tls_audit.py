"""What testssl.sh finds at the TLS port."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from stress.kit import Figures, stop
from stress.tls_kit import Certificates, Secure, needed

pytestmark = [pytest.mark.stress, pytest.mark.timeout(300)]

HARMLESS = {"OK", "INFO", "LOW", "DEBUG"}
# It asks `openssl s_client`, which leaves with its input, at times before a session ticket has come. Then it could not
# look, and says WARN, which is no rating.
NOT_ALWAYS_SEEN = {"sessionresumption_ticket", "sessionresumption_ID"}
VERSIONS = ["SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3"]
SUITES = ["cipherorder_TLSv1_2", "cipherorder_TLSv1_3"]


def audit(certificates: Certificates, server: Secure, folder: Path) -> dict[str, dict[str, str]]:
    """Run testssl.sh and return its findings by their names. All of it stays on the loopback interface."""
    report = folder / "report.json"
    quiet = ["--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1"]
    command = [needed("testssl", "testssl.sh"), *quiet, "--add-ca", certificates.authority, "--jsonfile", report]
    host = f"localhost:{server.secure[1]}"
    subprocess.run([*map(str, command), host], capture_output=True, stdin=subprocess.DEVNULL, timeout=280, cwd=folder)
    return {finding["id"]: finding for finding in json.loads(report.read_text())}


@pytest.mark.parametrize(("mode", "oldest"), [("threads", "1.2"), ("workers", "1.3")])
def test_nothing_is_rated_above_low(secure, certificates, tmp_path, figures: Figures, oldest):
    server = secure("--tls-min-version", oldest)
    findings = audit(certificates, server, tmp_path)
    for name in [*VERSIONS, *SUITES]:
        if name in findings:
            figures.note(name, findings[name]["finding"])
    unseen = {name for name, found in findings.items() if found["severity"] == "WARN"}
    assert unseen <= NOT_ALWAYS_SEEN
    worse = {name: found for name, found in findings.items() if found["severity"] not in HARMLESS}
    assert worse.keys() <= unseen, worse
    figures.hold("findings rated above LOW", len(worse.keys() - unseen), most=0)
    offered = [name for name in VERSIONS if findings[name]["finding"].startswith("offered")]
    assert offered == (["TLS1_2", "TLS1_3"] if oldest == "1.2" else ["TLS1_3"])
    stop(server)
