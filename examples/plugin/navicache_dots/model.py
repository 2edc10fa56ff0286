"""A diffusion model without training: the exact denoiser of a handful of drawn clips.

For data that is one of finitely many clips c_i with probabilities p_i, and Gaussian noise, the best guess of
the clean clip is known in closed form: the mean of the clips, each weighted by how likely it is to have
become what is seen (Bayes' rule). A trained denoiser comes near to such a mean; here it is computed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

COLOURS = {"red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "yellow": (1, 1, -1)}
MOTIONS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}
STARTS = [(x, y) for x in (0.25, 0.5, 0.75) for y in (0.25, 0.5, 0.75)]  # shares of width and height
_RADIUS, _WAY = 0.12, 0.4  # shares of the width: of a dot, and of how far it goes


def known_words(prompt: str) -> set[str]:
    """Return the words of a prompt that choose among the clips."""
    return {word for word in prompt.lower().replace(",", " ").split() if word in COLOURS or word in MOTIONS}


class ExactDenoiser(nn.Module):
    """Predicts the velocity noise - x0 of x = (1 - sigma) x0 + sigma noise, where x0 is one of the clips."""

    clips: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.words = [{colour, motion} for colour in COLOURS for motion in MOTIONS for _ in STARTS]
        self.register_buffer("clips", torch.empty(0), persistent=False)

    def draw(self, frames: int, height: int, width: int) -> None:
        """Draw the clips [N, 3, F, H, W] in [-1, 1], unless they are drawn at that size already."""
        if self.clips.shape[2:] == (frames, height, width):
            return
        rows = torch.arange(height)[:, None] / height
        columns = torch.arange(width)[None, :] / width
        when = torch.linspace(-0.5, 0.5, frames)[:, None, None]
        clips = []
        for colour in COLOURS.values():
            for dx, dy in MOTIONS.values():
                for x, y in STARTS:
                    across = columns - (x + _WAY * dx * when)
                    down = rows - (y + _WAY * dy * when)
                    # Its edge is a pixel wide, so that moving by less than a pixel shows.
                    inside = ((_RADIUS - torch.hypot(across, down)) * width + 0.5).clamp(0, 1)
                    paint = torch.tensor(colour, dtype=torch.float32)[:, None, None, None]
                    clips.append(inside * paint - (1 - inside))
        self.clips = torch.stack(clips).to(self.clips.device)

    def prior(self, prompt: str) -> Tensor:
        """Return log p_i [N]: clips that fit all known words of the prompt share the most of it."""
        asked = known_words(prompt)
        misses = torch.tensor([float(len(asked - words)) for words in self.words])
        return torch.log_softmax(-6 * misses, dim=0).to(self.clips.device)

    def forward(self, x: Tensor, t: Tensor, prior: Tensor) -> Tensor:
        """Predict the velocity.

        Args:
            x: what is seen [3, F, H, W].
            t: the timestep [1], 1000 sigma.
            prior: log p_i [N]; see `prior`.

        Returns:
            The velocity [3, F, H, W].
        """
        sigma = t / 1000
        distances = (x - (1 - sigma) * self.clips).square().sum(dim=(1, 2, 3, 4))
        likely = torch.softmax(prior - distances / (2 * sigma**2), dim=0)
        x0 = torch.einsum("n,ncfhw->cfhw", likely, self.clips)
        return (x - x0) / sigma
