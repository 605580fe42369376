"""A recurrent network whose state is the SWE map: accumulation comes on top, melt takes away what lies there."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from snowmap.models.blocks import Decoder, Encoder, pad_to_multiple
from snowmap.models.net import Features, Fluxes, Inputs, Maps, Net, Specification
from snowmap.physics import SNOW_RAIN_TEMPERATURE
from snowmap.units import unit_factor

DENSITY_BOUNDS = (80.0, 550.0)
"""kg m⁻³: new snow of alpine storms to old, wet snow (Sturm et al. 2010; Judson & Doesken 2000)."""

MAXIMUM_DEGREE_DAY_FACTOR = 12.0
"""mm °C⁻¹ d⁻¹: above the range that Hock (2003) lists for snow."""

SNOW_SPREAD = 2.5
"""°C: of the days about their window's mean temperature."""

TRUSTED_COHERENCE, TRUST_SLOPE = 0.4, 6.0
"""Coherence at which the untrained net trusts phase and surroundings alike; retrievals reject the phase below 0.35
(Oveisgharan et al. 2024)."""

BEGIN_GAIN = 30.0
"""Makes the snow with which a sequence begins the first thing to be learned: as long as it is wrong, the rest of the
net is driven to make up for it."""

CARRY = 3.0
"""Untrained, the net carries sigmoid(3) = 95 % of a trusted remainder to the next window: what was cut off at zero
accumulation would otherwise add up to snow that never fell."""

CORRECTION_MM = 30.0
"""Scale of what the net adds to the phase's ΔSWE: the atmosphere's part, the same however long the window."""

SNOWFALL_MM_PER_DAY = 10 / 12
"""Scale of the snowfall that is not read from the phase, where no coherence is lost."""

STORM_MM = 150.0
"""Scale of the snowfall that takes all coherence: at C band five cycles of phase, uneven inside a pixel."""

COHERENCE_PIXELS = 5
"""Side of the square over which coherence is averaged before snowfall is read from it: of one pixel it is noise."""

LOG_2 = math.log(2)
"""softplus(0): untrained, the net takes the precipitation as it is."""


class Budget(NamedTuple):
    """The water of every step, in mm; state = before + accumulation − melt.

    Attributes:
        before: SWE on which the step builds: the state of the step before, or that with which a sequence begins.
        accumulation: What was added, ≥ 0.
        melt: What was taken away, ≥ 0 and never more than lies there.
        state: SWE at the end of the step, ≥ 0.
    """

    before: Float[Tensor, "batch time height width"]
    accumulation: Float[Tensor, "batch time height width"]
    melt: Float[Tensor, "batch time height width"]
    state: Float[Tensor, "batch time height width"]


class _Observed(NamedTuple):
    """Of every step and pixel, ``(batch, time, height, width)``."""

    guess: Tensor  # mm, accumulation by the phase; 0 where there is none
    has_phase: Tensor  # of dry snow
    untrained_trust: Tensor  # in the phase, as a logit
    fallen: Tensor  # mm per day, ÷ log 2
    snow: Tensor  # share of what falls that is snow
    temperature: Tensor  # °C
    pdd: Tensor  # °C d


class MassBalance(Net):
    """State ← state + accumulation − melt, pixel by pixel; a convolutional net says how far the phase can be trusted.

    The first guess of a window's accumulation is the closed-form ΔSWE of dry snow (`phase_swe`). What of it was not
    accepted is carried to the next window: neighbouring interferograms share an acquisition, whose
    atmosphere enters the second with the opposite sign. For the rest stands the precipitation; without such a band the
    lost coherence (`coherence_lost`), which grows with a storm however many cycles of phase it adds; where snow is wet
    it says nothing, as its phase.
    """

    time = "season"
    maps_every_step = True
    in_target_units = True
    derived = ("phase_swe", "wet_snow")
    needs = ("phase_swe", "coherence", "mean_temperature", "pdd")
    uses = ("wet_snow", "precipitation", "glacier")
    ignores = ("displacement", "phase", "unwrapped_phase")
    fluxes = {  # noqa: RUF012  no net changes it; a proxy could not be copied
        "accumulation": {
            "units": "mm",
            "long_name": "water that the window added to the snow pack",
            "cell_methods": "time: sum",
        },
        "melt": {
            "units": "mm",
            "long_name": "water that left the snow pack in the window",
            "cell_methods": "time: sum",
        },
    }
    output_layers = ("spread.2",)
    loops_over_steps = True
    stage_names = {  # noqa: RUF012  as above
        **dict.fromkeys(("look", "correct"), "surroundings"),
        **dict.fromkeys(("begin", "decide", "dense", "spread"), "head"),
    }

    def __init__(self, specification: Specification, *, channels: Sequence[int], hidden: int) -> None:
        """Build the net.

        Args:
            specification: What it is built for.
            channels: Channels of encoder and decoder at each resolution; each further one halves height and width.
            hidden: Channels of the layers that decide for each pixel and step.
        """
        super().__init__()
        if other := specification.targets.keys() - {"swe", "hs"}:
            raise ValueError(f"it maps swe and hs, not {', '.join(other)}")
        self.targets = dict(specification.targets)
        self.bands = self.physical(specification.bands)
        self.millimetre = unit_factor("mm", self.targets.get("swe", "mm"))  # in the unit of SWE
        self.levels, self.encoded = len(channels), channels
        self.encoder = Encoder(specification.channels, channels)
        self.decoder = Decoder(channels)
        self.look = nn.Conv2d(channels[0], hidden, kernel_size=1)
        self.correct = nn.Conv2d(channels[0], 1, kernel_size=1)
        self.begin = _pixelwise(specification.channels, hidden, 2)
        self.decide = _pixelwise(hidden + 4, hidden, 4)
        self.dense = _pixelwise(hidden + 3, hidden, 1) if "hs" in self.targets else None
        self.beside = specification.outputs - len(self.targets)
        self.spread = _pixelwise(hidden + 3, hidden, self.beside) if self.beside else None
        # untrained, the net is the closed form and the degree-day model
        ends = [part[-1] for part in (self.begin, self.decide, self.dense, self.spread) if part is not None]
        for layer in (self.correct, *ends):
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def reads(self, channels: Sequence[str]) -> dict[str, list[str]]:
        """The channels, twice: with their surroundings, and pixel by pixel for the snow at the beginning."""
        return {**super().reads(channels), "begin.0": list(channels)}

    def features(self, inputs: Inputs) -> list[Features]:
        """Those of the surroundings, step by step."""
        levels = self.encoder(pad_to_multiple(inputs.x.flatten(0, 1), self.levels))
        # of one image, `unflatten` would lose the strides by which convolutions choose the order of their sums
        return [level[None] if len(inputs.x) == 1 else level.unflatten(0, inputs.x.shape[:2]) for level in levels]

    def forward(self, inputs: Inputs) -> Maps:
        """Each target at every step, in its unit; beside it what a head reads further, in normalised units."""
        look = self._look(inputs)
        return self._maps(inputs, look, self._budget(inputs, look))

    def with_fluxes(self, inputs: Inputs) -> tuple[Maps, Fluxes]:
        """The maps of the targets, and accumulation and melt of every step in mm."""
        look = self._look(inputs)
        budget = self._budget(inputs, look)
        return self._maps(inputs, look, budget), torch.stack([budget.accumulation, budget.melt], dim=2)

    def budget(self, inputs: Inputs) -> Budget:
        """The water of every step."""
        return self._budget(inputs, self._look(inputs))

    def _look(self, inputs: Inputs) -> Tensor:
        """What the surroundings of each pixel show, step by step: `hidden` channels and a correction of the phase."""
        height, width = inputs.x.shape[-2:]
        levels = [level.squeeze(0) if len(level) == 1 else level.flatten(0, 1) for level in self.encode(inputs)]
        features = self.decoder(levels)[..., :height, :width]
        look = torch.cat([functional.silu(self.look(features)), self.correct(features)], dim=1)
        return look.float().unflatten(0, inputs.x.shape[:2])

    def _observed(self, inputs: Inputs, look: Tensor) -> _Observed:
        """What radar and weather say of each step, before anything is known of the snow that lies there."""
        bands = dict(zip(self.bands, inputs.bands.float().unbind(2), strict=True))
        phase_swe, coherence, temperature, pdd = (bands[name] for name in self.needs)
        has_phase = inputs.valid[:, :, 0] & inputs.valid[:, :, 1]
        tells_of_storms = inputs.valid[:, :, 1] & inputs.step_valid[..., None, None]
        if "wet_snow" in bands:
            dry = bands["wet_snow"] < 0.5
            has_phase &= dry  # the phase of wet snow says nothing of its water
            apart = inputs.gap_days[:, 1:, None, None] > 0
            tells_of_storms &= dry  # water takes the coherence of both windows that share its acquisition
            tells_of_storms[:, 1:] &= dry[:, :-1] | apart
        guess = torch.where(has_phase, phase_swe + CORRECTION_MM * look[:, :, -1], 0)
        lost = coherence_lost(coherence, tells_of_storms, inputs.length_days)
        length = inputs.length_days[..., None, None]
        fallen = SNOWFALL_MM_PER_DAY + STORM_MM * lost / length
        if "precipitation" in bands:
            known_rain = inputs.valid[:, :, self.bands.index("precipitation")]
            fallen = torch.where(known_rain, bands["precipitation"] / length / LOG_2, fallen)
        snow = torch.sigmoid((SNOW_RAIN_TEMPERATURE - temperature) / SNOW_SPREAD)
        untrained_trust = TRUST_SLOPE * (coherence - TRUSTED_COHERENCE)
        return _Observed(guess, has_phase, untrained_trust, fallen, snow, temperature, pdd)

    def _budget(self, inputs: Inputs, look: Tensor) -> Budget:
        observed, begin = self._observed(inputs, look), self._beginning(inputs)
        state = carried = torch.zeros_like(begin[:, 0])
        steps = []
        for t in range(begin.shape[1]):
            guess, has_phase, untrained_trust, fallen, snow, temperature, pdd = (maps[:, t] for maps in observed)
            known = inputs.step_valid[:, t, None, None]
            starts = inputs.season_start[:, t, None, None]
            first = starts | (known & ~inputs.step_valid[:, t - 1, None, None] if t else known)
            gap = torch.where(first, 0, inputs.gap_days[:, t, None, None])  # the beginning stands for all before it
            length, added = (of_step[:, t, None, None] for of_step in (inputs.length_days, inputs.added_days))
            days = gap + added  # of snowfall and melt, at the rates of the window
            before = torch.where(first, begin[:, t], state)
            carried = torch.where(first | (gap > 0), 0, carried)
            change = carried + guess
            context = torch.stack([before / 100, change / 30, guess / 30, temperature / 5], dim=1)
            decided = self.decide(torch.cat([look[:, t, :-1], context], dim=1)).float()
            trust, fall, factor, keep = decided.unbind(1)
            trust = torch.sigmoid(trust + untrained_trust) * has_phase
            unread = (days - trust * added) * fallen * functional.softplus(fall)
            accumulation = torch.where(known, snow * (trust * functional.relu(change) + unread), 0)
            factor = MAXIMUM_DEGREE_DAY_FACTOR * torch.sigmoid(factor - 0.4)
            melt = torch.where(known, torch.minimum(factor * pdd * days / length, before + accumulation), 0)
            state = before + accumulation - melt
            carried = torch.sigmoid(keep + CARRY) * trust * (change - accumulation)
            steps.append((before, accumulation, melt, state))
        return Budget(*(torch.stack(parts, dim=1) for parts in zip(*steps, strict=True)))

    def _beginning(self, inputs: Inputs) -> Tensor:
        """SWE in mm with which a sequence would begin at each step: nearly none on 1 September, except on glaciers."""
        begin = self.begin(inputs.x.flatten(0, 1)).float().unflatten(0, inputs.x.shape[:2])
        late, bare = (BEGIN_GAIN * begin).unbind(2)
        starts = inputs.season_start[..., None, None]
        if "glacier" in self.bands:
            starts = starts & (inputs.bands[:, :, self.bands.index("glacier")] < 0.5)
        return 1000 * functional.softplus(torch.where(starts, bare - 6, late - 2))

    def _maps(self, inputs: Inputs, look: Tensor, budget: Budget) -> Maps:
        maps = {}
        if "swe" in self.targets:
            maps["swe"] = budget.state * self.millimetre
        if self.dense is not None:
            maps["hs"] = budget.state / self._density(inputs, look, budget.state) * 100  # mm = kg m⁻² -> m -> cm
        targets = torch.stack([maps[name] for name in self.targets], dim=2)
        if self.spread is None:
            return targets
        # the state must not be bent for the sake of a small uncertainty
        beside = self.spread(self._pack(inputs, look, budget.state.detach())).float()
        beside = beside.unflatten(1, (len(self.targets), -1)).unflatten(0, targets.shape[:2])
        return torch.cat([targets[:, :, :, None], beside], dim=3).flatten(2, 3)

    def _density(self, inputs: Inputs, look: Tensor, state: Tensor) -> Tensor:
        """Of the pack in kg m⁻³, from season, surroundings and the pack's own weight."""
        assert self.dense is not None
        low, high = DENSITY_BOUNDS
        share = torch.sigmoid(
            self.dense(self._pack(inputs, look, state)).float().unflatten(0, state.shape[:2])[:, :, 0]
        )
        return low + (high - low) * share

    def _pack(self, inputs: Inputs, look: Tensor, state: Tensor) -> Tensor:
        """What is known of the pack at each step, for pixelwise layers: surroundings, its SWE, season."""
        angle = 2 * torch.pi * inputs.day_of_year / 365.25
        season = torch.stack([angle.cos(), angle.sin()], 2)[..., None, None].expand(-1, -1, -1, *state.shape[-2:])
        return torch.cat([look[:, :, :-1], state[:, :, None] / 100, season], dim=2).flatten(0, 1)


def coherence_lost(
    coherence: Float[Tensor, "batch time height width"],
    valid: Bool[Tensor, "batch time height width"],
    length_days: Float[Tensor, "batch time"],
) -> Float[Tensor, "batch time height width"]:
    """Share of a pixel's coherence that each step lacks against the best one so far, itself included.

    Snow that falls unevenly inside a pixel takes coherence away (Rott, Nagler & Scheiber 2003); trees take as much of
    the best. Only steps at least as long are compared, since time takes coherence, too. All are means of surroundings.

    Args:
        coherence: Of every step.
        valid: Where it has a value.
        length_days: Length of the window of every step, in days.

    Returns:
        0 … 1; 0 where coherence is missing.
    """

    def mean(maps: Tensor) -> Tensor:
        return functional.avg_pool2d(maps, COHERENCE_PIXELS, stride=1, padding=COHERENCE_PIXELS // 2)

    known = valid.float()
    smooth = mean(coherence * known) / mean(known).clamp(min=1e-6) * known
    best = []
    for t in range(smooth.shape[1]):
        as_long = (length_days[:, : t + 1] >= length_days[:, t : t + 1])[..., None, None]
        best.append(torch.where(as_long, smooth[:, : t + 1], 0).amax(dim=1))
    return known * (1 - smooth / torch.stack(best, dim=1).clamp(min=1e-6))


def _pixelwise(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, hidden, 1), nn.SiLU(inplace=True), nn.Conv2d(hidden, outputs, 1))
