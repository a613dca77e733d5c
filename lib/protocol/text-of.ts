/** The name of a function, a class or an error; `undefined` if it is not a text or cannot be read. Never throws. */
export function nameOf(value: unknown): string | undefined {
  return textOf(value, 'name');
}

/** A property of something of the application, which may be a proxy or have getters that throw. */
export function textOf(value: unknown, property: 'message' | 'name'): string | undefined {
  try {
    const text = (value as Record<string, unknown> | null | undefined)?.[property];
    return typeof text === 'string' ? text : undefined;
  } catch {
    return undefined;
  }
}
