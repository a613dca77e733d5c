import { randomUUID } from 'node:crypto';
import { Channel, reservedChannel } from '../protocol/channel.js';
import { describe } from '../protocol/channel-name.js';
import { InvalidMessageError, TransportUnavailableError } from '../protocol/errors.js';
import type { Hub } from './hub.js';
import type { Listener } from './listener.js';

/** What goes from node to node: a question, or the answer to one. */
type Packet =
  | { readonly kind: 'question'; readonly id: string; readonly from: string; readonly body: unknown }
  | { readonly kind: 'answer'; readonly id: string; readonly body: unknown };

interface Pending {
  readonly resolve: (body: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/** Asks one node of the cluster something, by messages. */
export class NodeRequests {
  private readonly pending = new Map<string, Pending>();

  constructor(
    private readonly hub: Hub,
    private readonly answer: (body: unknown) => unknown,
  ) {}

  /** Begins to answer other nodes, and to hear their answers. */
  listen(): Listener {
    const listener = this.hub.listen(
      channelOf(this.hub.node),
      (packet: unknown) => this.receive(packet),
      this.hub.root,
      'requests of other nodes',
    );
    listener.onSessionClose = () => this.abandon();
    return listener;
  }

  /**
   * @param body - plain JSON values
   * @throws TransportUnavailableError (rejects) where no answer comes in time: the broker is away, or that node is gone
   */
  async ask(node: string, body: unknown, timeoutMs: number): Promise<unknown> {
    const id = randomUUID();
    const answer = new Promise<unknown>((resolve, reject) => {
      const timer = setTimeout(
        () => this.fail(id, `node ${node} did not answer within ${timeoutMs} ms`),
        timeoutMs,
      ).unref();
      this.pending.set(id, { resolve, reject, timer });
    });
    void this.hub
      .post(channelOf(node), { kind: 'question', id, from: this.hub.node, body } satisfies Packet, { scope: 'auto' })
      .then((isAccepted) => {
        if (!isAccepted) this.fail(id, 'the broker did not accept the request');
      });
    return answer;
  }

  private async receive(packet: unknown): Promise<void> {
    if (!isPacket(packet)) throw new InvalidMessageError(`a request of another node is not ${describe(packet)}`);
    if (packet.kind === 'answer') {
      // One that comes too late has nobody waiting any more.
      this.take(packet.id)?.resolve(packet.body);
      return;
    }
    const body = await this.answer(packet.body);
    await this.hub.post(channelOf(packet.from), { kind: 'answer', id: packet.id, body } satisfies Packet, {
      scope: 'auto',
    });
  }

  private fail(id: string, reason: string): void {
    this.take(id)?.reject(new TransportUnavailableError(`Another server could not be asked: ${reason}`));
  }

  private take(id: string): Pending | undefined {
    const pending = this.pending.get(id);
    if (pending === undefined) return undefined;
    this.pending.delete(id);
    clearTimeout(pending.timer);
    return pending;
  }

  private abandon(): void {
    for (const id of [...this.pending.keys()]) this.fail(id, 'the application shuts down');
  }
}

function channelOf(node: string): Channel<Packet> {
  return reservedChannel<Packet>(`node/${node}`) as Channel<Packet>;
}

function isPacket(value: unknown): value is Packet {
  if (typeof value !== 'object' || value === null) return false;
  const { kind, id, from } = value as Record<string, unknown>;
  return typeof id === 'string' && (kind === 'answer' || (kind === 'question' && typeof from === 'string'));
}
