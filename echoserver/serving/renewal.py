"""Having new connections get a new certificate: its files are read again where they have changed."""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic, time

from echoserver.errors import ConfigError
from echoserver.net.certificates import Certificates
from echoserver.observe.logger import Logger
from echoserver.observe.metrics import Metrics
from echoserver.observe.telling import tell

_LOOK_SECONDS = 1.0
_SOON_SECONDS = 7 * 86_400.0
_WARN_SECONDS = 86_400.0


class Renewal:
    """Reads certificates again, and says when they expire.

    Open connections keep the certificate that they began with. A file that can't be used changes nothing: it is logged
    and counted, and tried again each second, since a certificate and its key are rarely replaced at the same moment.

    Parameters
    ----------
    certificates:
        What is read.
    metrics:
        Counts how often that worked, and how often it did not.
    log:
        Is told so.

    """

    def __init__(self, certificates: Certificates, metrics: Metrics, log: Logger) -> None:
        self._certificates = certificates
        self._metrics = metrics
        self._log = log
        # The janitor's own.
        self._look_at = monotonic() + _LOOK_SECONDS
        self._warn_at = 0.0
        self._unsettled = False
        self._problem = ""  # what was wrong at the last look

    def look(self) -> None:
        """Read the files again if they have changed; called by the janitor a few times a second."""
        now = monotonic()
        if now >= self._warn_at:
            self._warn_at = now + _WARN_SECONDS
            self.warn_of_expiry()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        changed = self._certificates.changed()
        if not changed and not self._unsettled:
            return
        # The times of files advance in steps of some milliseconds, so a second change within one step shows in nothing
        # but the content: after each change the files are read once more.
        self._unsettled = changed
        try:
            self._certificates.reload()
        except ConfigError as error:
            self._unsettled = True
            if str(error) != self._problem:
                self._problem = str(error)
                self._failed(error)
            return
        if changed or self._problem:
            self._problem = ""
            self._succeeded()

    def reload(self) -> None:
        """Read the files again, changed or not; from any thread.

        Raises
        ------
        ConfigError
            A file can't be read or used. It has been logged and counted, and nothing has changed.

        """
        try:
            self._certificates.reload()
        except ConfigError as error:
            self._failed(error)
            raise
        self._succeeded()

    def warn_of_expiry(self) -> None:
        """Log a warning if the certificate has expired, or will within a week."""
        try:
            expires = self._certificates.expires_at()
        except ConfigError:  # the file is being replaced: what was read of it serves on, and the look comes to it
            return
        left = expires - time()
        if left < _SOON_SECONDS:
            event = "certificate has expired" if left < 0 else "certificate expires soon"
            date = datetime.fromtimestamp(expires, UTC).isoformat()
            tell(self._log.warning, event, file=self._certificates.path, expires=date)

    def _succeeded(self) -> None:
        self._metrics.reloaded()
        tell(self._log.info, "certificates reloaded", file=self._certificates.path)
        self.warn_of_expiry()

    def _failed(self, error: ConfigError) -> None:
        self._metrics.reload_failed()
        tell(self._log.warning, "certificates not reloaded", reason=str(error))
