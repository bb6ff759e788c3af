"""How much a command says."""

from offline_mbrl.errors import Level, set_level


def talk(level: Level) -> None:
    """Sets it for this process; at "debug" JAX names what it compiles, and libraries say what they do."""
    set_level(level)
    if level == "debug":
        import logging

        import jax

        logging.basicConfig(level=logging.DEBUG)
        jax.config.update("jax_log_compiles", True)
