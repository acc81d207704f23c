"""A list setting takes one value without brackets."""

from __future__ import annotations

import pytest

from aria_data.config import load_config


@pytest.mark.parametrize("text", ["127.0.0.1", '"127.0.0.1"', '["127.0.0.1"]'])
def test_one_value_for_a_list_setting_is_a_list_of_it(text):
    assert load_config(None, [f"web.allow_hosts={text}"]).web.allow_hosts == ("127.0.0.1",)
