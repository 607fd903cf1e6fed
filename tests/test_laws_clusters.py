"""Clusters: what counts as one run and one configuration."""

import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.laws.uncertainty.clusters import Clusters

LOGS = np.log([[1e3], [1e3], [1e4], [1e4]])


def test_without_names_each_point_is_a_run_and_each_place_a_configuration() -> None:
    found = Clusters.of(LOGS, None, None)
    assert len(found.runs) == 4 and found.count == 2 and found.single
    assert [list(rows) for rows in found.rows()] == [[0, 1], [2, 3]]


def test_runs_with_the_same_checkpoints_are_one_configuration() -> None:
    found = Clusters.of(np.log([[1.0], [2.0], [1.0], [2.0], [1.0], [3.0]]), ["a", "a", "b", "b", "c", "c"], None)
    assert len(found.runs) == 3 and found.count == 2 and not found.single
    assert found.config[0] == found.config[3] != found.config[5]


def test_a_run_links_the_configurations_it_passes_through() -> None:
    found = Clusters.of(LOGS, ["trunk 1", "trunk 2", "trunk 1", "trunk 2"], ["small", "small", "large", "large"])
    assert found.count == 1
    apart = Clusters.of(LOGS, ["a", "b", "c", "d"], ["small", "small", "large", "large"])
    assert apart.configs == ("large", "small")


def test_a_chain_of_links_is_one() -> None:
    logs = np.log(np.arange(1.0, 7.0))[:, None]
    assert Clusters.of(logs, list("aabbcc"), list("uvvwwx")).count == 1


def test_names_of_another_length() -> None:
    with pytest.raises(BadInput, match="There are 4 points and 2 runs"):
        Clusters.of(LOGS, ["a", "b"], None)
