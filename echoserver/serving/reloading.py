"""Having a server do as another configuration says, while it runs."""

from __future__ import annotations

from threading import Lock

from echoserver.config import ServerConfig
from echoserver.errors import ConfigError
from echoserver.handlers import HandlerFactory, find_handler
from echoserver.observe.logger import Logger
from echoserver.observe.metrics import Metrics
from echoserver.observe.telling import tell
from echoserver.serving.accepting import Accepting
from echoserver.serving.admission import Admission
from echoserver.serving.janitor import Janitor
from echoserver.serving.lifecycle import Lifecycle, Recipe
from echoserver.serving.limits import Limits
from echoserver.serving.modes import serves_inline


class Reloading:
    """The configuration in use, and the parts of a server that can do with another one.

    Parameters
    ----------
    config:
        What the server begins with.
    lifecycle:
        Makes new connections, by a recipe that follows from the configuration.
    janitor:
        Judges all connections, by limits that do.
    admission, accepting:
        Let as many be open as it says.
    metrics:
        Counts how often it was replaced.
    log:
        Is told so.

    """

    def __init__(
        self,
        config: ServerConfig,
        lifecycle: Lifecycle,
        janitor: Janitor,
        admission: Admission,
        accepting: Accepting,
        metrics: Metrics,
        log: Logger,
    ) -> None:
        self._lifecycle = lifecycle
        self._janitor = janitor
        self._admission = admission
        self._accepting = accepting
        self._metrics = metrics
        self._log = log
        # Guards the two below: of two threads that reload, one waits for the other. Held while files are read, which no
        # serving thread waits for. Others read `config` without it, and see the one before or the one after.
        self._lock = Lock()
        self.config = config
        self._renewal = lifecycle.recipe.openings.renewal(metrics, log)

    def look(self) -> None:
        """Look at the certificates; called by the janitor."""
        renewal = self._renewal
        if renewal is not None:
            renewal.look()

    def reload(self, config: ServerConfig | None) -> list[str]:
        """See `Server.reload`."""
        with self._lock:
            if config is not None:
                return self._replace(config)
            if self._renewal is None:
                return []
            self._renewal.reload()
            return ["certificates"]

    def _replace(self, config: ServerConfig) -> list[str]:
        try:
            recipe = self._prepare(config)
            renewal = recipe.openings.renewal(self._metrics, self._log)
        except ConfigError as error:
            self._metrics.reload_failed()
            tell(self._log.warning, "not reloaded", reason=str(error))
            raise
        # From here on nothing can fail. A new connection gets all of the recipe, which is one reference, or nothing.
        changed = self.config.changed(config)
        self.config, self._renewal = config, renewal
        self._lifecycle.use(recipe)
        self._janitor.use(Limits.of(config))
        self._accepting.acceptor.use(config)
        self._admission.change(config)
        self._metrics.reloaded()
        tell(self._log.info, "reloaded", changed=changed)
        return changed

    def _prepare(self, config: ServerConfig) -> Recipe:
        """Make what new connections are to be made of, or refuse."""
        self.config.refuse_fixed(config)
        in_use = self._lifecycle.recipe.factory
        factory = find_handler(config.handler, config.handler_options, anew=True)
        if serves_inline(config, factory) != serves_inline(self.config, in_use):
            raise ConfigError(_other_way(factory), key="handler")
        return self._lifecycle.recipe.following(factory, config)


def _other_way(factory: HandlerFactory) -> str:
    ways = "workers call it, and the poller calls the one in use" if factory.blocking else "the poller calls it"
    return f"can't change to {factory.name} while the server runs: {ways}; restart it, or set dispatch to queue"
