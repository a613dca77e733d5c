/** Whether a value is an object, but neither an array nor a function. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return isObject(value) && !Array.isArray(value);
}

/** Whether a value is an object, but no function. */
export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
