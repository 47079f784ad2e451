"""Each lowering, run by LiteRT, computes what torch computes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fca_edge.errors import FcaEdgeError
from fca_edge.exporting.forms import MODERN, OLD, Profile
from fca_edge.exporting.tflite.file import count_operators
from fca_edge.exporting.tflite.lower import to_tflite
from fca_edge.runtimes import RUNTIMES
from fca_edge.targets.outputs import run_artefact


class Apply(nn.Module):
    """A function as a module, with parameters if it wants some."""

    def __init__(self, function, **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def spread(x: Tensor) -> Tensor:
    """Squared distance from the mean of the last dimension."""
    apart = x - x.mean(-1, keepdim=True)
    return apart * apart


def grown(module: nn.Module) -> nn.Module:
    """Give every parameter and buffer a random value."""
    generator = torch.Generator().manual_seed(1)
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            tensor.data = torch.randn(tensor.shape, generator=generator).abs() + 0.1
    return module.eval()


CASES = {
    "conv_same": (Apply(lambda m, x: m.c(x), c=nn.Conv2d(3, 5, 3, padding=1)), (1, 3, 8, 8)),
    "conv_stride_2_even": (Apply(lambda m, x: m.c(x), c=nn.Conv2d(3, 5, 3, 2, 1)), (1, 3, 8, 10)),
    "conv_stride_2_odd": (Apply(lambda m, x: m.c(x), c=nn.Conv2d(3, 5, 3, 2, 1)), (1, 3, 9, 7)),
    "conv_valid": (Apply(lambda m, x: m.c(x), c=nn.Conv2d(3, 5, 2, 2)), (1, 3, 8, 8)),
    "conv_no_bias": (Apply(lambda m, x: m.c(x), c=nn.Conv2d(3, 5, 1, bias=False)), (1, 3, 4, 4)),
    "depthwise": (
        Apply(lambda m, x: m.c(x), c=nn.Conv2d(6, 6, 7, padding=3, groups=6)),
        (1, 6, 9, 8),
    ),
    "depthwise_stride_4": (
        Apply(lambda m, x: m.c(x), c=nn.Conv2d(6, 6, 7, 4, 3, groups=6)),
        (1, 6, 14, 14),
    ),
    "depthwise_dilated": (
        Apply(
            lambda m, x: m.c(x),
            c=nn.Conv2d(6, 6, (3, 7), padding=(3, 3), dilation=(3, 1), groups=6),
        ),
        (1, 6, 9, 9),
    ),
    "linear_tokens": (Apply(lambda m, x: m.f(x), f=nn.Linear(6, 4)), (1, 5, 6)),
    "linear_grid": (
        Apply(lambda m, x: m.f(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), f=nn.Linear(6, 4)),
        (1, 6, 3, 5),
    ),
    "linear_no_bias": (Apply(lambda m, x: m.f(x), f=nn.Linear(6, 4, bias=False)), (1, 5, 6)),
    "norm": (Apply(lambda m, x: m.n(x), n=nn.LayerNorm(6)), (1, 5, 6)),
    "norm_image": (
        Apply(lambda m, x: m.n(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), n=nn.LayerNorm(3)),
        (1, 3, 4, 5),
    ),
    "norm_bare": (Apply(lambda m, x: F.layer_norm(x, (6,), eps=1e-6)), (1, 4, 6)),
    "norm_channels": (
        Apply(lambda m, x: m.n(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), n=nn.LayerNorm(3)),
        (1, 3, 4, 5),
    ),
    "batch_norm": (Apply(lambda m, x: m.b(x), b=nn.BatchNorm2d(3)), (1, 3, 4, 5)),
    "mean_image": (Apply(lambda m, x: x.mean((2, 3))), (1, 3, 4, 5)),
    "mean_grid": (Apply(lambda m, x: x.permute(0, 2, 3, 1).mean((1, 2))), (1, 3, 4, 5)),
    "mean_last": (Apply(lambda m, x: x - x.mean(-1, keepdim=True)), (1, 5, 6)),
    "variance": (
        Apply(lambda m, x: x * torch.rsqrt(spread(x).mean(-1, keepdim=True) + 1e-5)),
        (1, 5, 6),
    ),
    "mean_kept": (
        Apply(lambda m, x: x.permute(0, 2, 3, 1).mean((1, 2), keepdim=True)),
        (1, 3, 4, 5),
    ),
    "gelu": (Apply(lambda m, x: F.gelu(x)), (1, 5, 6)),
    "sigmoid": (Apply(lambda m, x: torch.sigmoid(x * 3.0)), (1, 5, 6)),
    "minimum": (Apply(lambda m, x: torch.minimum(x, x * x)), (1, 5, 6)),
    "minimum_constant": (
        Apply(lambda m, x: torch.minimum(x, torch.arange(-2.0, 4.0) / 3.0)),
        (1, 5, 6),
    ),
    "clamp": (Apply(lambda m, x: x.clamp(-0.5, 0.75)), (1, 5, 6)),
    "clamp_below": (Apply(lambda m, x: x.clamp(min=-0.25)), (1, 5, 6)),
    "clamp_above": (
        Apply(lambda m, x: m.c(x).clamp(max=0.25), c=nn.Conv2d(3, 5, 1)),
        (1, 3, 4, 4),
    ),
    "rsqrt": (Apply(lambda m, x: torch.rsqrt(x * x + 1.0)), (1, 5, 6)),
    "softmax": (Apply(lambda m, x: x.softmax(-1)), (1, 2, 5, 6)),
    "scores": (Apply(lambda m, x: x @ x.transpose(-2, -1)), (1, 2, 5, 6)),
    "heads": (
        Apply(
            lambda m, x: torch.cat(
                [p.flatten(2) for p in x.reshape(1, 5, 4, 3).transpose(1, 2).split(2, 1)], 2
            )
        ),
        (1, 5, 12),
    ),
    "cat_channels": (Apply(lambda m, x: torch.cat([x, x * 2.0], 1)), (1, 3, 4, 5)),
    "cat_seven": (Apply(lambda m, x: torch.cat([x * float(i) for i in range(7)], 1)), (1, 3, 4)),
    "roll": (Apply(lambda m, x: torch.roll(x, (-2, 1), (1, 2))), (1, 4, 5, 3)),
    "slice": (Apply(lambda m, x: x[..., 2:5] + x[..., -3:]), (1, 4, 7)),
    "select": (Apply(lambda m, x: x[:, :, 1]), (1, 4, 3, 5)),
    "pad": (Apply(lambda m, x: F.pad(x, (1, 2, 0, 3))), (1, 3, 4, 5)),
    "pad_and_crop": (Apply(lambda m, x: F.pad(x, (3, -2, -1, 2))), (1, 3, 6, 7)),
    "broadcast_vector": (Apply(lambda m, x: x * torch.arange(6.0) + torch.ones(6)), (1, 5, 6)),
    "broadcast_per_token": (Apply(lambda m, x: x * x[..., :1]), (1, 5, 6)),
    "broadcast_heads": (
        Apply(lambda m, x: x + torch.arange(2.0).reshape(1, 2, 1, 1)),
        (1, 2, 5, 6),
    ),
    "broadcast_channels": (
        Apply(lambda m, x: m.c(x) * torch.arange(1.0, 6.0).reshape(-1, 1, 1), c=nn.Conv2d(3, 5, 1)),
        (1, 3, 4, 4),
    ),
    "windows": (
        Apply(lambda m, x: x.reshape(1, 2, 2, 2, 3, 5).transpose(2, 3).reshape(1, 4, 6, 5) * 2),
        (1, 4, 6, 5),
    ),
    "layouts_meet": (
        Apply(lambda m, x: m.c(x) + x.transpose(2, 3).contiguous(), c=nn.Conv2d(3, 3, 1)),
        (1, 3, 4, 4),
    ),
}


def run(module: nn.Module, image: Tensor, path: Path, profile: Profile) -> np.ndarray:
    program = torch.export.export(module, (image,))
    to_tflite(program, profile, "{}", path, "nchw")
    arrays, _ = run_artefact(path, RUNTIMES[profile.runtimes[0]], image.numpy())
    return arrays["logits"]


class Fixed(nn.Module):
    """Wrap a case so that its 4-D input of the artefact becomes the case's shape."""

    def __init__(self, inner: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.inner, self.shape = inner, shape

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.reshape(self.shape))


def operators(profile: Profile, **changed: str) -> Profile:
    return replace(profile, operators=replace(profile.operators, **changed))


@pytest.mark.parametrize("name", CASES)
def test_lowering(name: str, tmp_path: Path) -> None:
    check(name, tmp_path, MODERN)


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("linear_tokens", operators(MODERN, linear="conv_2d")),
        ("linear_grid", operators(MODERN, linear="conv_2d")),
        ("norm", operators(MODERN, rate="sqrt_div")),
        ("rsqrt", operators(OLD, rate="sqrt_div")),
        ("linear_grid", operators(OLD, linear="conv_2d")),
        ("depthwise_dilated", OLD),
        ("gelu", OLD),
        ("sigmoid", OLD),
        ("minimum", OLD),
        ("clamp", OLD),
    ],
)
def test_other_forms(name: str, profile: Profile, tmp_path: Path) -> None:
    check(name, tmp_path, profile)


def check(name: str, folder: Path, profile: Profile) -> None:
    module, shape = CASES[name]
    image = torch.randn((1,) * (4 - len(shape)) + shape, generator=torch.Generator().manual_seed(2))
    wrapped = Fixed(grown(module), shape)
    with torch.no_grad():
        expected = wrapped(image).numpy()
    got = run(wrapped, image, folder / "case.tflite", profile)
    assert got.shape == expected.shape
    # One operator or two in float32: a few units in the last place of values below 100.
    assert np.abs(got - expected).max() <= 2e-5 * max(1.0, np.abs(expected).max())


UNCOVERED = {
    "softmax_rows": lambda m, x: x.softmax(1),
    "step": lambda m, x: x[..., ::2],
    "alpha": lambda m, x: torch.add(x, x, alpha=2),
    "pad_value": lambda m, x: F.pad(x, (1, 1), value=2.0),
    "norm_of_two": lambda m, x: F.layer_norm(x, (4, 6)),
    "outer": lambda m, x: x[..., :1] * x[..., :1, :],
    "uneven": lambda m, x: x.split(4, 3)[0],
    "roll_all": lambda m, x: torch.roll(x, 2),
}


@pytest.mark.parametrize("name", UNCOVERED)
def test_uncovered_cases_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FcaEdgeError, match="no TFLite lowering for aten"):
        run(Apply(UNCOVERED[name]), torch.ones(1, 3, 4, 6), tmp_path / "case.tflite", MODERN)


def test_a_square_of_a_difference_is_one_operator(tmp_path: Path) -> None:
    image = torch.randn(1, 3, 5, 6)
    got = run(Apply(lambda m, x: spread(x)), image, tmp_path / "s.tflite", MODERN)
    assert np.abs(got - spread(image).numpy()).max() < 1e-5
    counts = count_operators(tmp_path / "s.tflite")
    assert counts["SQUARED_DIFFERENCE"] == 1
    assert "SUB" not in counts


def test_a_difference_that_is_read_twice_stays_one(tmp_path: Path) -> None:
    def twice(m: nn.Module, x: Tensor) -> Tensor:
        apart = x - x.mean(-1, keepdim=True)
        return apart * apart + apart

    image = torch.randn(1, 3, 5, 6)
    got = run(Apply(twice), image, tmp_path / "t.tflite", MODERN)
    assert np.abs(got - twice(nn.Identity(), image).numpy()).max() < 1e-5
    assert "SQUARED_DIFFERENCE" not in count_operators(tmp_path / "t.tflite")


def test_softmax_over_part_of_stored_memory(tmp_path: Path) -> None:
    module = Apply(lambda m, x: x.reshape(1, 12, 2, 5).softmax(-1))
    image = torch.randn(1, 3, 4, 10)
    got = run(module, image, tmp_path / "case.tflite", MODERN)
    assert np.abs(got - module(image).numpy()).max() < 1e-6


def test_operator_without_a_lowering_is_named(tmp_path: Path) -> None:
    module = Apply(lambda m, x: m.inner(x), inner=Apply(lambda m, x: torch.cumsum(x, 2)))
    with pytest.raises(
        FcaEdgeError, match=r"aten\.cumsum\.default on shapes \[\(1, 3, 4, 4\)\], in module inner"
    ):
        run(module, torch.ones(1, 3, 4, 4), tmp_path / "case.tflite", MODERN)
    assert not (tmp_path / "case.tflite").exists()


def test_no_transposes_in_convolution_stages(tmp_path: Path) -> None:
    from fca_edge.zoo.build import build
    from fca_edge.zoo.randomise import randomise

    network = randomise(build("convnext_tiny", 64, 10))
    program = torch.export.export(network, (torch.zeros(1, 3, 64, 64),))
    to_tflite(program, MODERN, "{}", tmp_path / "c.tflite")
    counts = count_operators(tmp_path / "c.tflite")
    assert "TRANSPOSE" not in counts
    assert "RESHAPE" not in counts
