"""Models from the Hub, read by the real client from a local server that speaks the Hub's protocol."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.hub_server import COMMIT, HubServer, serving
from helpers.quantisers import edit_tensors, gptq, quantise


@pytest.fixture
def hub(tiny_model: Path) -> Iterator[HubServer]:
    """A Hub with one model, `owner/tiny`."""
    with serving() as server:
        server.models["owner/tiny"] = tiny_model
        yield server


def resolved(server: HubServer, home: Path, name: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from safescape.weights import *; print(inspect(resolve(sys.argv[1]).weights))"
    code = f"from safescape import InputError\ntry:\n exec({code!r})\nexcept InputError as e: print('refused:', e)"
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(home),
        "SAFESCAPE_HOME": str(home / "safescape"),
        "HF_HUB_DISABLE_XET": "1",
    }
    return subprocess.run([sys.executable, "-c", code, name], env=environment, capture_output=True, text=True)


def test_a_model_from_the_hub_has_the_weights_of_the_directory(
    hub: HubServer, tiny_model: Path, tmp_path: Path
) -> None:
    from safescape.weights import inspect, resolve

    done = resolved(hub, tmp_path, "owner/tiny")
    assert done.stdout.strip() == inspect(resolve(str(tiny_model)).weights), done.stderr
    assert f"/owner/tiny/resolve/{COMMIT}/model.safetensors" in hub.requested
    hub.requested.clear()
    again = resolved(hub, tmp_path, "owner/tiny@main")
    assert again.stdout == done.stdout
    assert not [path for path in hub.requested if path.endswith("model.safetensors")], "read from the cache"


def test_a_quantised_model_from_the_hub_is_dequantised_once(hub: HubServer, tiny_model: Path, tmp_path: Path) -> None:
    from safescape.weights import inspect, resolve

    section = {"quant_method": "gptq", "bits": 4, "group_size": 16}
    meant = quantise(tiny_model, tmp_path / "quantised", gptq(4, 16), section)
    plain = Path(shutil.copytree(tiny_model, tmp_path / "plain"))
    edit_tensors(plain, lambda held: held.update({name: values.float() for name, values in meant.items()}))
    hub.models["owner/quantised"] = tmp_path / "quantised"
    done = resolved(hub, tmp_path / "home", "owner/quantised")
    assert done.stdout.strip() == inspect(resolve(str(plain)).weights), done.stderr
    (cached,) = (path for path in (tmp_path / "home" / "safescape" / "dequantised").iterdir() if path.is_dir())
    written = (cached / "model.safetensors").stat().st_mtime_ns
    assert resolved(hub, tmp_path / "home", "owner/quantised").stdout == done.stdout
    assert (cached / "model.safetensors").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("name", "message"),
    [("owner/absent", "not on this disk and not on the Hub"), ("owner/locked", "its owner asks for a login")],
)
def test_errors_of_the_hub_are_reported_in_one_line(hub: HubServer, tmp_path: Path, name: str, message: str) -> None:
    done = resolved(hub, tmp_path, name)
    assert done.stdout.startswith(f"refused: {name}: {message}"), done.stdout + done.stderr


def test_an_unreachable_hub_is_reported_in_one_line(hub: HubServer, tmp_path: Path) -> None:
    hub.shutdown()
    hub.server_close()
    done = resolved(hub, tmp_path, "owner/tiny")
    assert "not on this disk, and the Hub cannot be reached" in done.stdout, done.stdout + done.stderr
