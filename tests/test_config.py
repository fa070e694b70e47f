"""Values that the types allow but the program does not are refused with one line."""

import pytest

from alexnet_sweep.errors import ConfigError
from conftest import Compose


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("trainer.epochs=0", "trainer.epochs=0: out of range; allowed: at least 1"),
        ("regularizer.dropout.rate=1.0", "at least 0 and below 1"),
        ("aug.flip.probability=1.5", "at least 0 and at most 1"),
        ("model.width=nan", "model.width=nan: out of range"),
        ("optim.learning_rate=inf", "optim.learning_rate=inf: out of range"),
        ("schedule.drop_fractions=[0.5,1.5]", "schedule.drop_fractions"),
        ("model.activation.name=rleu", "Did you mean 'relu'? Have: relu, tanh, scaled_tanh"),
        ("data.crop_px=40", "larger than the stored images (data.stored_px=32)"),
        ("model.stem.kernel=3", "kernel, stride and padding go together"),
        ("model.topology.groups=[1,1]", "has 2 values; needs 5"),
        ("trainer.processes=5000", "more than a batch has images (trainer.batch_size="),
        ("trainer.cpu_threads=many", "allowed: auto, or a number from 1"),
        ("trainer.cpu_threads=0", "allowed: auto, or a number from 1"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_key(composed: Compose, override: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        composed(override)
    message = str(caught.value)
    assert says in message and "\n" not in message


def test_plateau_without_a_heldout_part_is_refused(composed: Compose) -> None:
    with pytest.raises(ConfigError, match=r"data\.heldout_fraction=0"):
        composed("schedule=plateau", "data.heldout_fraction=0")


def test_plateau_with_a_heldout_part_that_is_trained_on_is_refused(composed: Compose) -> None:
    with pytest.raises(ConfigError, match=r"schedule\.heldout_joins_fraction=0\.5: schedule=plateau watches"):
        composed("schedule=plateau", "schedule.heldout_joins_fraction=0.5")


@pytest.mark.parametrize("name", ["+foo=3", "++trainer.foo=1", "+model.lrn.foo.bar=2"])
def test_a_key_beside_the_schema_is_refused(composed: Compose, name: str) -> None:
    with pytest.raises(ConfigError, match="no such key"):
        composed(name)
