/** The value below which a share of the others lies: 0.5 is the median. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const place = (sorted.length - 1) * share;
  const below = sorted[Math.floor(place)]!;
  const above = sorted[Math.ceil(place)]!;
  return below + (above - below) * (place - Math.floor(place));
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The range of the middle half of the values, as a share of the median. */
export function spread(values: readonly number[]): number {
  return (quantile(values, 0.75) - quantile(values, 0.25)) / median(values);
}

/**
 * The ratio of two series with values taken in turn, pair by pair. A disturbance of a whole round
 * affects both values of a pair and so leaves their ratio unchanged.
 */
export function medianRatio(values: readonly number[], base: readonly number[]): number {
  return median(values.map((value, index) => value / base[index]!));
}
