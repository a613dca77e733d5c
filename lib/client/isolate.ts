/** Runs code of the application: what it throws, and what a promise that it gives rejects with, is reported. */
export function isolate(run: () => unknown, report: (error: unknown) => void): void {
  try {
    const result = run();
    if (typeof result === 'object') Promise.resolve(result).catch(report);
  } catch (error) {
    report(error);
  }
}

/** Runs code of the application whose failure has no meaning. */
export async function quietly(run: () => unknown): Promise<void> {
  try {
    await run();
  } catch {
    // As the name says.
  }
}
