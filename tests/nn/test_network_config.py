import dataclasses

import pytest
import yaml

from ase_tracegrad.nn.config import ConfigError, NetworkConfig, TraceGradConfig, config_from_dict, config_to_dict


def test_round_trip():
    config = NetworkConfig(cutoff=6.5, n_blocks=3, tracegrad=TraceGradConfig(rank=4, nodes=False))
    assert config_from_dict(NetworkConfig, config_to_dict(config)) == config
    assert config_from_dict(NetworkConfig, yaml.safe_load(yaml.safe_dump(config_to_dict(config)))) == config
    assert config_from_dict(NetworkConfig, {}) == NetworkConfig()


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        NetworkConfig().cutoff = 3.0


def test_numbers_may_be_written_in_any_way_yaml_knows():
    config = config_from_dict(NetworkConfig, yaml.safe_load("{cutoff: 7, message_cutoff: 5e0, message_scale: 1e1}"))
    assert (config.cutoff, config.message_cutoff, config.message_scale) == (7.0, 5.0, 10.0)
    assert isinstance(config.cutoff, float)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"cutof": 3.0}, "unknown key 'cutof'; did you mean 'cutoff'"),
        ({"tracegrad": {"invariant": 3}}, "unknown key 'tracegrad.invariant'; did you mean 'invariants'"),
        ({"tracegrad": {"xyz": 3}}, "valid keys: nodes, edges"),
        ({"tracegrad": True}, "tracegrad: expected a mapping"),
        ({"cutoff": "far"}, "cutoff must be a number, found 'far'"),
        ({"cutoff": None}, "cutoff must be a number, found None"),
        ({"cutoff": True}, "cutoff must be a number, found True"),
        ({"cutoff": [7.0]}, "cutoff must be a number"),
        ({"cutoff": "nan"}, "cutoff must be a number, found 'nan'"),
        ({"n_blocks": 2.5}, "n_blocks must be a whole number, found 2.5"),
        ({"n_blocks": True}, "n_blocks must be a whole number"),
        ({"n_blocks": 0}, "n_blocks must be at least 1"),
        ({"hidden": 32}, "hidden must be text"),
        ({"final_node_update": 1}, "final_node_update must be true or false"),
        ({"cutoff": 3.0}, "message_cutoff must lie between 0 and cutoff = 3.0, found 5.0"),
        ({"cutoff_width": 8.0}, "cutoff_width must lie between 0 and cutoff = 7.5, found 8.0"),
        ({"tracegrad": {"gradient": False, "decoder": False}}, "blocks with neither gradient nor decoder have no effect"),
        (None, "NetworkConfig: expected a mapping"),
    ],
)
def test_errors_name_the_setting(data, message):
    with pytest.raises(ConfigError, match=message):
        config_from_dict(NetworkConfig, data)
