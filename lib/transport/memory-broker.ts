import type { ReadBounds } from '../core/channel-log.js';
import type {
  AppendOutcome,
  HistoryBounds,
  HistoryChanges,
  HistoryPost,
  HistoryRead,
  HistoryTime,
} from '../core/history-store.js';
import { MemoryHistories } from '../core/memory-histories.js';
import { describe } from '../protocol/channel-name.js';
import { ConfigurationError, TransportUnavailableError } from '../protocol/errors.js';
import type { Position } from '../protocol/position.js';

/** A node that a broker connects; a `MemoryTransport`. */
export interface MemoryNode {
  /** Whether it was made with this broker, started or not. @internal */
  isOf(broker: MemoryBroker): boolean;
  /** The broker can be reached, and knows none of the node's interests. */
  connected(): void;
  /** The broker cannot be reached, and has forgotten the node's interests. */
  disconnected(): void;
  /** Takes a published payload. */
  deliver(channel: string, payload: string, position?: Position): void;
  /** Whether an interest in exactly this name is registered. */
  hears(name: string): boolean;
}

/** One request to the broker. */
interface Request {
  readonly node: MemoryNode;
  readonly run: () => void;
  /** Called instead if the broker is cut off first. */
  readonly refuse: (() => void) | undefined;
}

/**
 * Joins the {@link MemoryTransport}s of one process. It handles requests in order and in a later turn of the event loop, like a broker
 * at the other end of a network.
 */
export class MemoryBroker {
  private readonly nodes = new Set<MemoryNode>();
  // Nodes that cannot reach the broker.
  private readonly away = new Set<MemoryNode>();
  private requests: Request[] = [];
  private scheduled: NodeJS.Immediate | undefined = undefined;
  private isCut = false;
  /** The histories of all channels. They survive a cut. */
  private readonly histories = new MemoryHistories();

  /**
   * Disconnects nodes. The broker forgets their interests and their posts that it has not accepted yet.
   *
   * @param only - the only node to disconnect; absent: all, including those that join meanwhile
   * @throws ConfigurationError for anything but a transport of this broker
   */
  cut(only?: MemoryNode): void {
    this.checkNode(only, 'cut()');
    if (only === undefined) this.isCut = true;
    const lost = [...this.nodes].filter((node) => (only ?? node) === node && !this.away.has(node));
    for (const node of lost) this.away.add(node);
    const refused = this.requests.filter(({ node }) => this.away.has(node));
    this.requests = this.requests.filter(({ node }) => !this.away.has(node));
    for (const { refuse } of refused) refuse?.();
    for (const node of lost) node.disconnected();
  }

  /**
   * Reconnects nodes. They register their interests again, in a later turn.
   *
   * @param only - the only node to reconnect; absent: all
   * @throws ConfigurationError for anything but a transport of this broker
   */
  heal(only?: MemoryNode): void {
    this.checkNode(only, 'heal()');
    if (only === undefined) this.isCut = false;
    const back = [...this.away].filter((node) => (only ?? node) === node);
    for (const node of back) {
      this.away.delete(node);
      this.request(node, () => node.connected());
    }
  }

  /** Adds a node. @internal */
  join(node: MemoryNode): void {
    this.nodes.add(node);
    if (this.isCut) {
      this.away.add(node);
      node.disconnected();
    } else this.request(node, () => node.connected());
  }

  /** @internal */
  leave(node: MemoryNode): void {
    this.nodes.delete(node);
    this.away.delete(node);
  }

  /** Whether a node is connected. @internal */
  reaches(node: MemoryNode): boolean {
    return !this.away.has(node);
  }

  /** Passes a payload to all nodes. Resolves to `false` if the broker cannot be reached. @internal */
  publish(from: MemoryNode, channel: string, payload: string): Promise<boolean> {
    if (this.away.has(from)) return Promise.resolve(false);
    return new Promise((resolve) => {
      const run = (): void => {
        resolve(true);
        for (const node of [...this.nodes]) node.deliver(channel, payload);
      };
      this.request(from, run, () => resolve(false));
    });
  }

  /** See `HistoryStore.append`. An append that is cut off has the outcome `unknown`, and is not made. @internal */
  append(from: MemoryNode, channel: string, post: HistoryPost, bounds: HistoryBounds): Promise<AppendOutcome> {
    const unknown: AppendOutcome = { kind: 'unknown' };
    if (this.away.has(from)) return Promise.resolve(unknown);
    return new Promise((resolve) => {
      const run = (): void => {
        const outcome = this.histories.append(channel, post, bounds);
        resolve(outcome);
        if (outcome.kind !== 'appended' || outcome.isKnown === true) return;
        for (const node of [...this.nodes]) node.deliver(channel, post.payload, outcome.position);
      };
      this.request(from, run, () => resolve(unknown));
    });
  }

  /** See `HistoryStore.read`. @internal */
  read(from: MemoryNode, channel: string, after: Position | number, page?: ReadBounds): Promise<HistoryRead> {
    return this.ask(from, () => this.histories.read(channel, after, page));
  }

  /** See `HistoryStore.positions`. @internal */
  positions(from: MemoryNode, channels: readonly string[], at?: HistoryTime): Promise<Position[]> {
    return this.ask(from, () => channels.map((channel) => this.histories.position(channel, at)));
  }

  /** See `HistoryStore.changes`. @internal */
  changes(from: MemoryNode, since?: HistoryTime): Promise<HistoryChanges> {
    return this.ask(from, () => this.histories.changes(since));
  }

  /** Forgets all histories, like a broker that was restarted without its data. */
  wipe(): void {
    this.histories.clear();
  }

  private checkNode(only: Partial<MemoryNode> | null | undefined, path: string): void {
    if (only === undefined) return;
    const isNode = typeof only?.isOf === 'function';
    if (isNode && only.isOf!(this)) return;
    const given = isNode ? 'one of another broker' : describe(only);
    throw new ConfigurationError(
      `MemoryBroker.${path}: give it a transport of this broker, as new MemoryTransport(broker) makes it, or nothing for all of them; not ${given}`,
    );
  }

  private ask<T>(from: MemoryNode, answer: () => T): Promise<T> {
    if (this.away.has(from)) return Promise.reject(cutOff());
    return new Promise((resolve, reject) =>
      this.request(
        from,
        () => resolve(answer()),
        () => reject(cutOff()),
      ),
    );
  }

  /** How many nodes hear this name; `undefined` if the broker cannot be reached. @internal */
  hearers(from: MemoryNode, name: string): Promise<number | undefined> {
    if (this.away.has(from)) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const run = (): void => resolve([...this.nodes].filter((node) => node.hears(name)).length);
      this.request(from, run, () => resolve(undefined));
    });
  }

  /** Runs something after all earlier requests. @internal */
  request(node: MemoryNode, run: () => void, refuse?: () => void): void {
    this.requests.push({ node, run, refuse });
    this.scheduled ??= setImmediate(this.work);
  }

  /** Resolves when all earlier requests have been handled or are lost. @internal */
  turn(): Promise<void> {
    return new Promise((resolve) => void setImmediate(resolve));
  }

  private readonly work = (): void => {
    this.scheduled = undefined;
    // Requests that result from these wait for the next turn.
    let count = this.requests.length;
    try {
      while (count-- > 0) this.requests.shift()?.run();
    } finally {
      // Runs even if a receiver has thrown: the payloads of others are not lost with it.
      if (this.requests.length > 0) this.scheduled ??= setImmediate(this.work);
    }
  };
}

function cutOff(): TransportUnavailableError {
  return new TransportUnavailableError('The memory broker is cut off');
}
