import { randomUUID } from 'node:crypto';
import type { WritePacket } from '@nestjs/microservices';
import { whenHeard } from '../../core/heard.js';
import type { Hub } from '../../core/hub.js';
import { isolate } from '../../core/isolate.js';
import type { Listener } from '../../core/listener.js';
import type { Session } from '../../core/session.js';
import type { Channel } from '../../protocol/channel.js';
import { InvalidMessageError, MessagingError } from '../../protocol/errors.js';
import { isReply, replyChannel, type ReplyMessage, type RequestPacket } from './request-reply.js';

interface Pending {
  readonly channel: Channel<RequestPacket>;
  readonly callback: (packet: WritePacket) => void;
  /** Whose answers are taken: of the first that answered. */
  from?: string;
}

/** The requests of one client that wait for answers, and the channel on which the answers come. */
export class PendingRequests {
  private readonly address = randomUUID();
  private readonly pending = new Map<string, Pending>();
  private readonly session: Session;
  private readonly listener: Listener;
  private isHeard = false;

  /** @throws SessionClosedError where the application has shut down */
  constructor(private readonly hub: Hub) {
    this.session = hub.sessions.open();
    this.session.assertOpen('connect');
    this.listener = hub.listen(replyChannel(this.address), (reply) => this.receive(reply), this.session, 'replies');
    this.session.onClose(() => this.fail());
    void this.listener.ready.then(() => (this.isHeard = true));
  }

  get closed(): boolean {
    return this.session.closed;
  }

  /** Resolves once no answer can be missed, or the broker cannot be reached. */
  async ready(): Promise<void> {
    if (!this.isHeard) await whenHeard(this.hub, [this.listener]);
  }

  /**
   * Sends a request; the callback gets the answers of the first server that answers.
   *
   * @returns forgets the request, and tells the servers that answer it still
   * @throws MessagingError for what cannot be sent
   */
  send(channel: Channel<RequestPacket>, data: unknown, callback: (packet: WritePacket) => void): () => void {
    const id = randomUUID();
    this.pending.set(id, { channel, callback });
    try {
      void this.hub.post(channel, { id, data, replyTo: this.address }, { scope: 'auto' });
    } catch (error) {
      this.pending.delete(id);
      throw error;
    }
    return () => {
      if (this.pending.delete(id)) this.stop(channel, { id, stop: true });
    };
  }

  /** Fails what waits, and takes no more answers. */
  close(): void {
    this.session.close();
  }

  private receive(reply: unknown): void {
    if (!isReply(reply)) throw new InvalidMessageError('what arrived is no reply');
    const request = this.pending.get(reply.id);
    if (request === undefined) return;
    const isFirst = request.from === undefined;
    request.from ??= reply.from;
    if (request.from !== reply.from) return;
    const isLast = reply.err !== undefined || reply.isDisposed === true;
    if (isLast) this.pending.delete(reply.id);
    // The first of several: the other servers would go on for nobody.
    else if (isFirst) this.stop(request.channel, { id: reply.id, stop: true, except: reply.from });
    request.callback(toPacket(reply, isLast));
  }

  private stop(channel: Channel<RequestPacket>, message: RequestPacket): void {
    void this.hub.post(channel, message, { scope: 'auto' });
  }

  private fail(): void {
    for (const [id, { channel, callback }] of this.pending) {
      this.pending.delete(id);
      isolate(this.hub.reporter, 'A request that was waiting for its answer', () => {
        this.stop(channel, { id, stop: true });
        callback({ err: closedError() });
      });
    }
  }
}

/** What a request ends with whose client was closed. */
export function closedError(): MessagingError {
  return new MessagingError('SESSION_CLOSED', 'The client was closed before the request was answered');
}

function toPacket({ err, response }: ReplyMessage, isDisposed: boolean): WritePacket {
  return {
    ...(err !== undefined && { err }),
    ...(response !== undefined && { response: response as unknown }),
    isDisposed,
  };
}
