/** The Web Locks of a browser, for tabs within one process: exclusive locks without stealing. */
export class WebLocks {
  /** When the last claim to a lock, and all earlier ones, are over. */
  private readonly over = new Map<string, Promise<unknown>>();

  /** Puts them where a page looks for them. */
  static install(): void {
    Object.defineProperty(globalThis, 'navigator', { value: { locks: new WebLocks() }, configurable: true });
  }

  /** @param signal - withdraws the claim */
  request(name: string, { signal }: { readonly signal: AbortSignal }, held: () => unknown): Promise<unknown> {
    const turn = (this.over.get(name) ?? Promise.resolve()).then(() => {
      signal.throwIfAborted();
      return held();
    });
    this.over.set(
      name,
      turn.catch(() => {}),
    );
    const givenUp = new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
    return Promise.race([turn, givenUp]);
  }
}
