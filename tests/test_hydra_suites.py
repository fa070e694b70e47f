"""Hydra's own test suites for launchers and sweepers, with ours as the sweeper: plain grids keep Hydra's semantics."""

from collections.abc import Iterator

import pytest
from hydra import version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.test_utils.launcher_common_tests import (
    BatchedSweeperTestSuite,
    IntegrationTestSuite,
    LauncherTestSuite,
)

from hydra_plugins.ablation_sweeper import AblationSweeper

pytestmark = pytest.mark.filterwarnings("ignore")  # the suites' own


@pytest.fixture(autouse=True)
def as_in_hydras_own_tests() -> Iterator[None]:
    """No config of ours is initialised, and jobs change their folder, as they did in the version the suites are for."""
    outer, base = GlobalHydra.instance().hydra, version.getbase()
    GlobalHydra.instance().clear()
    version.setbase("1.1")
    yield
    GlobalHydra.instance().clear()
    version.setbase(str(base) if base else "1.3")
    if outer is not None:
        GlobalHydra.instance().initialize(outer)


def test_hydra_finds_the_sweeper() -> None:
    assert AblationSweeper.__name__ in [kind.__name__ for kind in Plugins.instance().discover(Sweeper)]


@pytest.mark.parametrize(("launcher_name", "overrides"), [("basic", ["hydra/sweeper=ablation"])])
class TestLauncherSuite(LauncherTestSuite):
    pass


@pytest.mark.parametrize(
    ("launcher_name", "overrides"), [("basic", ["hydra/sweeper=ablation", "hydra.sweeper.max_batch_size=2"])]
)
class TestBatchedSuite(BatchedSweeperTestSuite):
    pass


@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [
        (
            {},
            [
                "-m",
                "hydra/launcher=basic",
                "hydra/sweeper=ablation",
                "hydra.hydra_logging.formatters.simple.format='[HYDRA] %(message)s'",
            ],
        )
    ],
)
class TestIntegrationSuite(IntegrationTestSuite):
    pass
