import type { Hub } from '../core/hub.js';
import type { NodeRequests } from '../core/node-requests.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import { InvalidMessageError } from '../protocol/errors.js';
import { BoundedList } from './bounded-list.js';
import type { ClientConnection } from './client-connection.js';
import {
  readConnectionQuestion,
  readCount,
  readListing,
  reasonOf,
  writeListing,
  type ConnectionListing,
  type ConnectionOrder,
  type ConnectionQuery,
  type ConnectionQuestion,
} from './connection-order.js';
import type { RecentEnds } from './recent-ends.js';
import { Slices } from './slices.js';

/** How long one node's list may be, in bytes. */
const MAX_LIST_BYTES = 256 * 1024;

/** The connections of this node. */
export interface HeldConnections {
  readonly open: ReadonlyMap<string, ClientConnection>;
  /** Carries out an order on a user's connections that are not open yet, as soon as they open. @returns how many there are */
  orderOpening(userId: string, order: ConnectionOrder): number;
}

/** The combined answers of the nodes. */
export interface OfNodes<T> {
  readonly result: T;
  /** Whether every node that the broker knows of has answered, and this node hears the broker. */
  readonly isComplete: boolean;
}

/** The node that holds a connection, taken from the connection's id. */
export function nodeOf(connection: string): string | undefined {
  return /^([\da-f-]{36})\.[\da-f-]{36}$/.exec(connection)?.[1];
}

/** Lists client connections of all nodes for the application, and carries out orders on them. */
export class ConnectionDirectory {
  private readonly maxListBytes: number;

  /**
   * @param timeoutMs - how long other nodes may take to answer
   * @param maxAnswerBytes - how long an answer to another node may be
   */
  constructor(
    private readonly hub: Hub,
    private readonly nodes: NodeRequests,
    private readonly held: HeldConnections,
    /** Subscriptions that the application has ended here. */
    readonly ends: RecentEnds,
    private readonly timeoutMs: number,
    maxAnswerBytes: number,
  ) {
    this.maxListBytes = Math.min(MAX_LIST_BYTES, maxAnswerBytes);
  }

  /**
   * Carries out an order on the node that holds a connection, or on all nodes that may hold connections of a user; at once on this node.
   *
   * @returns the number of affected connections
   * @throws TransportUnavailableError (rejects) if the node that holds the connection does not answer: the outcome is then unknown
   */
  async order(order: ConnectionOrder): Promise<OfNodes<number>> {
    const { target } = order;
    if ('userId' in target) {
      const here = this.carryOut(order);
      const others = await this.askOthers({ order }, readCount);
      return { result: others.results.reduce((sum, count) => sum + count, here), isComplete: others.isComplete };
    }
    const node = nodeOf(target.connection);
    if (node === this.hub.node) return { result: this.carryOut(order), isComplete: true };
    if (node === undefined || !this.hub.hasTransport) return { result: 0, isComplete: true };
    const question: ConnectionQuestion = { order };
    return {
      result: readCount(await this.nodes.askIfThere(node, { connections: question }, this.timeoutMs)),
      isComplete: true,
    };
  }

  /** Lists the connections of all nodes that answer, starting with this one. */
  async list(query: ConnectionQuery): Promise<OfNodes<ConnectionListing>> {
    const { limit } = query;
    const [here, others] = await Promise.all([
      this.listHere(query),
      this.askOthers({ query }, (answer) => readListing(answer, limit)),
    ]);
    const all = [here, ...others.results];
    const connections = all.flatMap((listing) => listing.connections);
    const more = connections.length > limit || all.some((listing) => listing.more);
    return { result: { connections: connections.slice(0, limit), more }, isComplete: others.isComplete };
  }

  /** @throws InvalidMessageError (rejects) for an invalid question */
  async answer(asked: unknown): Promise<unknown> {
    const question = readConnectionQuestion(asked);
    return 'order' in question ? this.carryOut(question.order) : writeListing(await this.listHere(question.query));
  }

  private async askOthers<T>(question: ConnectionQuestion, read: (answer: unknown) => T) {
    const { bodies, areComplete } = await this.nodes.askOthers({ connections: question }, this.timeoutMs);
    const results: T[] = [];
    let isComplete = areComplete;
    for (const body of bodies) {
      try {
        results.push(read(body));
      } catch (error) {
        if (!(error instanceof InvalidMessageError)) throw error;
        isComplete = false;
        this.hub.reporter.messageRejected({ channel: 'messaging:nodes', error });
      }
    }
    return { results, isComplete };
  }

  private carryOut(order: ConnectionOrder): number {
    const { target } = order;
    const opening = 'userId' in target ? this.held.orderOpening(target.userId, order) : 0;
    const targets = this.targets(target);
    if (order.kind === 'unsubscribe') {
      const { channel } = order;
      for (const { id } of targets) this.ends.note(id, channel);
      return targets.filter((each) => each.withdraw([channel], 'ended')).length;
    }
    for (const { session } of targets) session.end(reasonOf(order));
    return targets.length + opening;
  }

  private targets(target: ConnectionOrder['target']): ClientConnection[] {
    const { open } = this.held;
    if ('userId' in target) return [...open.values()].filter(({ session }) => isUser(session.auth, target.userId));
    const connection = open.get(target.connection);
    return connection === undefined ? [] : [connection];
  }

  private async listHere({ of, limit }: ConnectionQuery): Promise<ConnectionListing> {
    const list = new BoundedList(this.maxListBytes);
    const slices = new Slices();
    let more = false;
    for (const connection of this.held.open.values()) {
      while (slices.isOver) await slices.next();
      if (!matches(connection, of)) continue;
      if (list.size === limit) return { connections: await list.finish(slices), more: true };
      const isListed = 'userId' in of ? list.add(connection) : list.addWith(connection, of.channel);
      more ||= !isListed;
    }
    return { connections: await list.finish(slices), more };
  }
}

function matches(connection: ClientConnection, of: ConnectionQuery['of']): boolean {
  return 'userId' in of ? isUser(connection.session.auth, of.userId) : connection.has(of.channel);
}

/** Whether a sign-in is of a user. */
export function isUser(auth: AuthenticationInfo | null, userId: string): boolean {
  return auth !== null && String(auth.userId) === userId;
}
