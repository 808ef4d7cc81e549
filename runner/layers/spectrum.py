"""The inverse spectrogram at the end of HTDemucs: on a CPU one source and channel after the other.

The overlap-add of D. Griffin, J. Lim, "Signal estimation from modified short-time Fourier transform", 1984: a
Hann window whose hop is a quarter of it, applied twice, sums to 1.5 wherever four frames meet. HTDemucs pads
the song so that they do wherever it listens. `torch.istft` makes sure of that, and the CPU waits for the GPU.
Oracle: HTDemucs' `_mask` and `_ispec`; equal to rounding.
"""

import torch

_WINDOW_SUM = 1.5


def inverse(
    spectra: torch.Tensor, length: int, n_fft: int, factor: torch.Tensor, offset: torch.Tensor
) -> torch.Tensor:
    """Signals `(batch, sources, channels, length)`.

    Args:
        spectra: `(batch, sources, 2 * channels, n_fft / 2, frames)`: real and imaginary parts in turns, the
            highest frequency left out.
        length: how many samples the signals have.
        n_fft: of the transform.
        factor: for the spectra of each of the batch, `(batch, 1, 1, 1, 1)`.
        offset: what is added to all of their numbers then, the same.
    """
    batch, sources, parts, bins, frames = spectra.shape
    hop = n_fft // 4
    start = hop // 2 * 3
    window = torch.hann_window(n_fft, device=spectra.device) / _WINDOW_SUM
    signals = spectra.new_empty(batch * sources * parts // 2, length, dtype=torch.float32)
    at_once = 1 if spectra.device.type == "cpu" else len(signals)
    both = torch.zeros(at_once, frames, bins + 1, 2, device=spectra.device)
    both[0, 0, :bins] = 1
    constant = torch.fft.irfft(torch.view_as_complex(both[:1, :1]), norm="ortho").mul_(window)
    given = (
        signals,
        spectra.reshape(-1, 2, bins, frames),
        *(
            each.flatten().repeat_interleave(len(signals) // batch)[:, None, None]
            for each in (factor, offset)
        ),
    )
    # What the offset alone becomes.
    ground = _overlapping(
        constant.expand(1, frames, -1), torch.zeros(1, frames + 3, hop, device=spectra.device)
    )
    for some, spectrum, gain, level in zip(*(torch.split(each, at_once) for each in given), strict=True):
        both[:, :, :bins] = spectrum.permute(0, 3, 2, 1)
        pieces = torch.fft.irfft(torch.view_as_complex(both), norm="ortho").mul_(window * gain)
        some.copy_(_overlapping(pieces, ground * level).flatten(1)[:, start : start + length])
    return signals.view(batch, sources, parts // 2, length)


def _overlapping(pieces: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """`total`, `(n, frames + 3, hop)`, and `pieces`, `(n, frames, 4 * hop)`, each a hop after the last."""
    frames, hop = pieces.shape[1], total.shape[2]
    for part in range(4):
        total[:, part : part + frames] += pieces[..., part * hop : (part + 1) * hop]
    return total
