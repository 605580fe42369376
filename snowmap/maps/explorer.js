// Draws the window of the slider, and the series of the pixel that was tapped last.
const pixels = inside.length, [west, south] = corner, [dx, dy] = size
const value = (name, window, pixel) => {
  const code = kept.data[name][window * pixels + pixel]
  return code === missing ? NaN : offset[names.indexOf(name)] + step[names.indexOf(name)] * code
}

if (cb_obj.event_name === "tap") {
  const column = Math.floor((cb_obj.x - west) / dx), row = Math.floor((cb_obj.y - south) / dy)
  const found = column < 0 || column >= columns ? -1 : inside.indexOf(row * columns + column)
  if (found < 0) return
  place.data = {x: [west + (column + 0.5) * dx], y: [south + (row + 0.5) * dy], pixel: [found]}
}

const window = slider.value, pixel = place.data.pixel[0]
for (const name of mapped) {
  const image = shown.data[name][0], scale = names.indexOf(name), first = window * pixels
  for (let i = 0; i < pixels; i++) {
    const code = kept.data[name][first + i]
    image[inside[i]] = code === missing ? NaN : offset[scale] + step[scale] * code
  }
}
shown.change.emit()
now.location = series.data.end[window]
const column = {end: series.data.end}
for (const name of names) column[name] = texts.map((_, each) => value(name, each, pixel))
series.data = column
dates.text = texts[window]
where.text = `Series of the pixel at ${place.data.x[0].toFixed(digits)}, ${place.data.y[0].toFixed(digits)}${mark}`
