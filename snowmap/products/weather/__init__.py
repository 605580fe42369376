"""Products of weather: each module reads one as daily fields or stations, and `WEATHER` names them."""

from snowmap.products.reader import Reader
from snowmap.products.weather import cf, era5, stations
from snowmap.products.weather.daily import DailyWeather, missing_days, window_days
from snowmap.products.weather.downscale import window_bands

__all__ = ["WEATHER", "DailyWeather", "missing_days", "window_bands", "window_days"]

WEATHER: dict[str, Reader] = {"era5": era5.READER, "cf": cf.READER, "stations": stations.READER}
"""Readers under the word of ``weather.source``."""
