/** Makes a value the last one of a set, and forgets the first one if there are too many. */
export function addLast<T>(set: Set<T>, value: T, max: number): void {
  set.delete(value);
  set.add(value);
  forgetFirst(set, max);
}

/** Makes an entry the last one of a map, and forgets the first one if there are too many. */
export function setLast<K, V>(map: Map<K, V>, key: K, value: V, max: number): void {
  map.delete(key);
  map.set(key, value);
  forgetFirst(map, max);
}

/** Forgets the first one if there are too many. */
export function forgetFirst<K>(known: Set<K> | Map<K, unknown>, max: number): void {
  // First: the more have been deleted before the first one, the longer it takes to find it.
  if (known.size <= max) return;
  const [first] = known.keys();
  known.delete(first!);
}
