import { Subject } from 'rxjs';
import type { Hub } from '../../core/hub.js';
import { inTime } from '../../core/in-time.js';
import type { Channel } from '../../protocol/channel.js';
import { isErrorOf, thrownText } from '../../protocol/thrown.js';
import { replyChannel, type ReplyMessage, type RequestMessage } from './request-reply.js';

/** How long the broker may take to accept the last answer when the server shuts down, in milliseconds. */
const LAST_REPLY_MS = 500;

/** Nest's `WritePacket`, where nothing is `any`. */
interface Answer {
  readonly err?: unknown;
  readonly response?: unknown;
  readonly isDisposed?: boolean | undefined;
}

/** A request that is being answered. */
export class RunningRequest {
  /** Emits, or fails, to end the answers before their time. */
  readonly ended = new Subject<void>();
  /** Resolves once the last answer has been given. */
  readonly done: Promise<void>;
  /** Why an answer could not be sent, which has ended the answers. */
  unsendable: Error | undefined = undefined;
  private readonly channel: Channel<ReplyMessage>;
  private lastReply: Promise<unknown> = Promise.resolve();
  private isStopped = false;
  private resolveDone!: () => void;

  constructor(
    private readonly hub: Hub,
    private readonly request: RequestMessage,
    /** Who answers. */
    private readonly from: string,
  ) {
    this.channel = replyChannel(request.replyTo);
    this.done = new Promise((resolve) => (this.resolveDone = resolve));
  }

  /** Sends an answer, in the order of the calls. Never throws. */
  reply(answer: Answer): void {
    if (!this.isStopped) this.send(answer);
    if (answer.isDisposed) this.resolveDone();
  }

  /** Ends the answers; nobody wants them any more. */
  stop(): void {
    this.isStopped = true;
    this.ended.next();
  }

  /** Ends the answers with an error that tells the caller why, and waits until it is on its way, but not for a broker that is away. */
  async abort(message: string): Promise<void> {
    this.ended.error({ status: 'error', message });
    // Nest sends answers in a later tick.
    await new Promise((resolve) => setImmediate(resolve));
    await inTime(this.lastReply, LAST_REPLY_MS, () => undefined);
  }

  private send({ err, response, isDisposed }: Answer): void {
    try {
      this.post(err === undefined ? { response, isDisposed } : { err: asErrorObject(err), isDisposed: true });
    } catch (error) {
      this.unsendable = error as Error;
      this.post({ err: { status: 'error', message: 'Internal server error' }, isDisposed: true });
      this.stop();
    }
  }

  private post({ err, response, isDisposed }: Answer): void {
    const reply: ReplyMessage = {
      id: this.request.id,
      from: this.from,
      ...(response !== undefined && { response }),
      ...(err !== undefined && { err }),
      ...(isDisposed && { isDisposed }),
    };
    this.lastReply = this.hub.post(this.channel, reply, { scope: 'auto' });
  }
}

/** Nest's form of an error on the wire. Also of what an exception filter of the application gave: no stack goes out. */
function asErrorObject(error: unknown): unknown {
  return isErrorOf(error, Error) ? { status: 'error', message: thrownText(error) } : error;
}
