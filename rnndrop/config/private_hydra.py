"""Hydra's grammar and composition, apart from the Hydra of the program that calls us.

Hydra keeps what it works on in singletons: whose folder of settings it is, which version it imitates. A program that
uses Hydra itself, and calls `rnndrop.run`, must find them as it left them, and we must not find its settings in place
of ours. So the groups are read from given folders alone, nothing is registered, and one thread at a time is here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from rnndrop.config.folders import OURS, Source

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

VERSION_BASE = "1.3"
_lock = threading.RLock()


def parse(text: str) -> Override:
    """Read one override. Raises HydraException where it is none; ValueError, RecursionError for one beyond reason."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with _apart():
        return OverridesParser.create().parse_override(text)


def value_of(text: str) -> Any:
    """The value of an override that has one alone. Raises as `parse` does, and ValueError where it has several."""
    found = parse(text)
    if found.is_sweep_override():
        raise ValueError(text)
    return found.value()


def defaults(choices: Sequence[str], sources: tuple[Source, ...]) -> dict[str, Any]:
    """The settings of `sources` with these options of their groups (`dropout=none`).

    Raises HydraException, and what reading a file of a user's may: YAMLError, UnicodeDecodeError, OSError.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_repository import CachingConfigRepository
    from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
    from hydra._internal.defaults_list import create_defaults_list
    from omegaconf import OmegaConf

    with _apart():
        overrides, files = [parse(choice) for choice in choices], CachingConfigRepository(_repository(sources))
        chosen = create_defaults_list(files, "config", overrides, prepend_hydra=False, skip_missing=False)
        loader = ConfigLoaderImpl(ConfigSearchPathImpl())
        tree = OmegaConf.to_container(loader._compose_config_from_defaults_list(chosen.defaults, files))
    assert isinstance(tree, dict)
    return {str(key): value for key, value in tree.items()}


@cache
def _repository(sources: tuple[Source, ...]) -> Any:
    """The files of these folders, and no others."""
    from hydra._internal.config_repository import ConfigRepository
    from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
    from hydra._internal.core_plugins.file_config_source import FileConfigSource

    class Repository(ConfigRepository):
        def initialize_sources(self, config_search_path: Any) -> None:
            self.sources = [FileConfigSource(str(each.folder), f"file://{each.folder}") for each in sources]

        def load_config(self, config_path: str) -> Any:
            found = super().load_config(config_path)
            if found is not None:
                found.is_schema_source = True  # not to be checked against what the program has in its ConfigStore
                if found.provider != str(OURS):
                    _complete(found, config_path)
            return found

    return Repository(ConfigSearchPathImpl())


def _complete(found: Any, path: str) -> None:
    """Check a file of a user's; a dropout starts from none, and is named by its file. Raises HydraException."""
    from hydra.core.default_element import ConfigDefault
    from hydra.errors import HydraException
    from omegaconf import DictConfig, OmegaConf, open_dict

    file = f"{found.provider}/{path}.yaml"
    if not isinstance(found.config, DictConfig):
        raise HydraException(f"{file}: it must hold settings, as `input: {{kind: locked, p: 0.5}}`.")
    if "oc.env" in OmegaConf.to_yaml(found.config):
        raise HydraException(f"{file}: the value of an environment variable would be written into the record.")
    group, _, name = path.rpartition("/")
    if group == "dropout":
        if found.config.get("name", name) != name:
            raise HydraException(f"{file}: an option is named by its file. Leave out name: {found.config.name}.")
        with open_dict(found.config):
            found.config.name = name
        if not found.defaults_list or [str(each.path) for each in found.defaults_list] == ["_self_"]:
            found.defaults_list = [ConfigDefault(path="none"), ConfigDefault(path="_self_")]


@contextmanager
def _apart() -> Iterator[None]:
    """One thread at a time, with the version that our files are written for; afterwards it is what it was."""
    from hydra.core.singleton import Singleton
    from hydra.version import VersionBase, setbase

    with _lock:
        theirs = Singleton._instances.pop(VersionBase, None)
        try:
            setbase(VERSION_BASE)
            yield
        finally:
            Singleton._instances.pop(VersionBase, None)
            if theirs is not None:
                Singleton._instances[VersionBase] = theirs
