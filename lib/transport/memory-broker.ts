import type { MemoryTransport } from './memory-transport.js';

/** One thing that the broker is asked to do. */
interface Request {
  readonly run: () => void;
  /** Called instead where the broker is cut off before. */
  readonly refuse?: () => void;
}

/**
 * Joins the {@link MemoryTransport}s of one process. Does what it is asked in the order of asking and in a
 * later turn of the event loop, as a broker at the other end of a network would.
 */
export class MemoryBroker {
  private readonly nodes = new Set<MemoryTransport>();
  private readonly requests: Request[] = [];
  private scheduled: NodeJS.Immediate | undefined = undefined;
  private isCut = false;

  /** Loses all nodes and their interests, and what they have published and it has not accepted yet. */
  cut(): void {
    if (this.isCut) return;
    this.isCut = true;
    for (const { refuse } of this.requests.splice(0)) refuse?.();
    for (const node of this.nodes) node.disconnected();
  }

  /** Is back: all nodes register their interests again, in a later turn. */
  heal(): void {
    if (!this.isCut) return;
    this.isCut = false;
    for (const node of this.nodes) this.request(() => node.connected());
  }

  /** Takes in a node. @internal */
  join(node: MemoryTransport): void {
    this.nodes.add(node);
    if (this.isCut) node.disconnected();
    else this.request(() => node.connected());
  }

  /** @internal */
  leave(node: MemoryTransport): void {
    this.nodes.delete(node);
  }

  /** Passes a payload to all nodes. Resolves to `false` while the broker is cut. @internal */
  publish(channel: string, payload: string): Promise<boolean> {
    if (this.isCut) return Promise.resolve(false);
    return new Promise((resolve) => {
      const run = (): void => {
        resolve(true);
        for (const node of [...this.nodes]) node.deliver(channel, payload);
      };
      this.request(run, () => resolve(false));
    });
  }

  /** Does something after all that was asked before. @internal */
  request(run: () => void, refuse?: () => void): void {
    this.requests.push(refuse ? { run, refuse } : { run });
    this.scheduled ??= setImmediate(this.work);
  }

  /** Resolves when all that was asked before has been done or is lost. @internal */
  turn(): Promise<void> {
    return new Promise((resolve) => void setImmediate(resolve));
  }

  private readonly work = (): void => {
    this.scheduled = undefined;
    // What these requests lead to is left for the next turn.
    let count = this.requests.length;
    try {
      while (count-- > 0) this.requests.shift()?.run();
    } finally {
      // Also where a receiver has thrown: the payloads of others are not lost with it.
      if (this.requests.length > 0) this.scheduled ??= setImmediate(this.work);
    }
  };
}
