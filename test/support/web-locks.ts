/** The options of a request that tabs use. */
interface Options {
  /** Withdraws the claim. */
  readonly signal?: AbortSignal;
  readonly steal?: boolean;
}

interface Claim {
  readonly held: () => unknown;
  readonly signal: AbortSignal | undefined;
  resolve(value: unknown): void;
  reject(reason: Error): void;
}

/** The claims to one lock. */
interface Lock {
  holder: Claim | undefined;
  readonly waiting: Claim[];
}

/** The Web Locks of a browser, for tabs within one process: exclusive locks, which can be stolen. */
export class WebLocks {
  private readonly locks = new Map<string, Lock>();

  /** Puts them where a page looks for them. */
  static install(): WebLocks {
    const locks = new WebLocks();
    Object.defineProperty(globalThis, 'navigator', { value: { locks }, configurable: true });
    return locks;
  }

  request(name: string, { signal, steal }: Options, held: () => unknown): Promise<unknown> {
    const lock = this.lock(name);
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      const claim: Claim = { held, signal, resolve, reject };
      if (steal) {
        lock.holder?.reject(new DOMException('another claim has stolen the lock', 'AbortError'));
        lock.holder = undefined;
        lock.waiting.unshift(claim);
      } else {
        lock.waiting.push(claim);
      }
      signal?.addEventListener('abort', () => {
        const index = lock.waiting.indexOf(claim);
        if (index < 0) return;
        lock.waiting.splice(index, 1);
        reject(signal.reason as Error);
      });
      this.grant(lock);
    });
  }

  private lock(name: string): Lock {
    const lock = this.locks.get(name) ?? { holder: undefined, waiting: [] };
    this.locks.set(name, lock);
    return lock;
  }

  /** As in browsers, the holder hears of it later: another process grants it. */
  private grant(lock: Lock): void {
    if (lock.holder) return;
    const claim = (lock.holder = lock.waiting.shift());
    if (claim) setImmediate(() => void this.hold(lock, claim));
  }

  private async hold(lock: Lock, claim: Claim): Promise<void> {
    try {
      claim.signal?.throwIfAborted();
      claim.resolve(await claim.held());
    } catch (error) {
      claim.reject(error as Error);
    }
    if (lock.holder !== claim) return;
    lock.holder = undefined;
    this.grant(lock);
  }
}
