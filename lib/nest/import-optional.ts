/**
 * Loads a package that an application need not have.
 *
 * @param load - imports it
 * @returns `undefined` where it is not installed
 * @throws (rejects) where it is there and cannot be loaded
 */
export async function importOptional<T>(load: () => Promise<T>): Promise<T | undefined> {
  try {
    return await load();
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}
