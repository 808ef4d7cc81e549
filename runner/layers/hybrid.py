"""What HTDemucs does between its layers, in fewer passes over memory.

Of `demucs.htdemucs.HTDemucs.forward` (S. Rouard et al., "Hybrid Transformers for Music Source Separation",
2023): a spectrogram and a waveform, both normalised, go through branches of encoders, meet in a transformer
and leave through decoders. The spectrogram's mean and deviation come back while it is turned into a waveform.
Oracle: the class itself; equal to rounding.
"""

from functools import partial
from typing import Any

import torch
from demucs.htdemucs import HTDemucs
from torch import nn
from torch.nn import functional

from runner.layers.spectrum import inverse

_LEAST = 1e-5
"""Added to deviations, of which silence has none."""


def run_lean(network: nn.Module) -> None:
    """Replaces the forward of an HTDemucs like the published ones, and of nothing else."""
    if can_run_lean(network):
        network.forward = partial(forward, network)


def can_run_lean(network: nn.Module) -> bool:
    """Whether its spectra are complex numbers as channels, and its branches go side by side all the way."""
    if not isinstance(network, HTDemucs) or not network.cac or network.training:
        return False
    given: Any = network
    layers = [*given.encoder, *given.tencoder, *given.decoder, *given.tdecoder]
    return not any(getattr(layer, "empty", True) for layer in layers)


def forward(network: Any, mix: torch.Tensor) -> torch.Tensor:
    """The sources `(batch, sources, channels, length)` of a mix `(batch, channels, length)`."""
    length = mix.shape[-1]
    mix = functional.pad(mix, (0, network.valid_length(length) - length))
    x = network._magnitude(network._spec(mix))
    batch, _, bins, frames = x.shape
    mean, deviation = _statistics(x)
    mean_t, deviation_t = _statistics(mix)
    x.sub_(mean).div_(deviation + _LEAST)
    xt = (mix - mean_t) / (deviation_t + _LEAST)

    skips: list[tuple[torch.Tensor, torch.Tensor, int]] = []
    for encode, encode_t in zip(network.encoder, network.tencoder, strict=True):
        length_t = xt.shape[-1]
        x, xt = encode(x), encode_t(xt)
        if not skips and network.freq_emb is not None:
            rows = torch.arange(x.shape[2], device=x.device)
            x = x + network.freq_emb_scale * network.freq_emb(rows).t()[..., None]
        skips.append((x, xt, length_t))
    if network.crosstransformer is not None:
        x, xt = _transformed(network, x, xt)
    for decode, decode_t in zip(network.decoder, network.tdecoder, strict=True):
        skip, skip_t, length_t = skips.pop()
        x, _ = decode(x, skip, frames)
        xt, _ = decode_t(xt, skip_t, length_t)

    spectra = x.view(batch, len(network.sources), -1, bins, frames)
    result = inverse(spectra, mix.shape[-1], network.nfft, deviation[:, None], mean[:, None])
    result += mean_t[:, None]
    result.addcmul_(xt.view_as(result), deviation_t[:, None])
    return result[..., :length]


def _statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    axes = list(range(1, x.dim()))
    return x.mean(axes, keepdim=True), x.std(axes, keepdim=True)


def _transformed(network: Any, x: torch.Tensor, xt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if not network.bottom_channels:
        x, xt = network.crosstransformer(x, xt)
        return x, xt
    x = network.channel_upsampler(x.flatten(2)).unflatten(2, x.shape[2:])
    x, xt = network.crosstransformer(x, network.channel_upsampler_t(xt))
    x = network.channel_downsampler(x.flatten(2)).unflatten(2, x.shape[2:])
    return x, network.channel_downsampler_t(xt)
