import { randomUUID } from 'node:crypto';
import type { Observable } from 'rxjs';
import type { Delivery } from '../core/delivery.js';
import type { Hub } from '../core/hub.js';
import type { Listener } from '../core/listener.js';
import { whenHeard } from '../core/heard.js';
import type { Reporter } from '../core/reporter.js';
import type { Session } from '../core/session.js';
import { DirectStream } from '../core/stream.js';
import { isTemplate } from '../protocol/channel-name.js';
import type { ChannelAnswer, ReadyEvent } from '../protocol/gateway.js';
import { dropRuleOf } from './drop-rule.js';
import { Frame, encodeFrame } from './frame.js';

/** How a client connection is kept. */
export interface ClientConnectionOptions {
  /** Whether frames say the channel and restore types, for our client; else they read as those of `@Sse()`. */
  readonly form: 'native' | 'client';
  readonly heartbeatMs: number;
  readonly maxSubscriptions: number;
}

/** One client's stream and what it is subscribed to, which may change while the stream is open. */
export class ClientConnection {
  /** Unguessable; leads any node to this one. */
  readonly id: string;
  private readonly subscriptions = new Map<string, Listener>();
  /** Takes what goes over the stream, while there is one. */
  private next: ((message: unknown) => unknown) | undefined = undefined;

  constructor(
    private readonly hub: Hub,
    private readonly reporter: Reporter,
    readonly session: Session,
    private readonly options: ClientConnectionOptions,
  ) {
    this.id = `${hub.node}.${randomUUID()}`;
  }

  /**
   * What the stream carries: subscribes to the channels, and says in `messaging:ready` what became of them. For one
   * reader.
   *
   * @param answers - to the channels that were asked for; those without an error may be subscribed to
   */
  stream(answers: readonly ChannelAnswer[]): Observable<unknown> {
    return new DirectStream((next, complete) => this.read(answers, next, complete));
  }

  /**
   * Subscribes to channels that this client may subscribe to; to one that it has, once.
   *
   * @param answers - to the channels that were asked for; one with an error stays as it is
   * @returns the answers, once nothing posted to these channels from now on can be missed
   */
  async subscribe(answers: readonly ChannelAnswer[]): Promise<ChannelAnswer[]> {
    const listeners: Listener[] = [];
    const result = answers.map((answer): ChannelAnswer => {
      const { channel } = answer;
      if (answer.error !== undefined) return answer;
      let listener = this.subscriptions.get(channel);
      if (listener === undefined) {
        if (this.subscriptions.size >= this.options.maxSubscriptions) return { channel, error: 'LIMIT_EXCEEDED' };
        listener = this.listen(channel);
        this.subscriptions.set(channel, listener);
      }
      listeners.push(listener);
      return answer;
    });
    if (listeners.length > 0) await whenHeard(this.hub, listeners);
    return result;
  }

  /** Ends subscriptions; names without one are passed over. */
  unsubscribe(names: readonly string[]): void {
    for (const name of names) {
      this.subscriptions.get(name)?.unsubscribe();
      this.subscriptions.delete(name);
    }
  }

  private read(answers: readonly ChannelAnswer[], next: (message: unknown) => unknown, complete: () => void) {
    const end = (): void => {
      this.next = undefined;
    };
    if (this.session.closed) {
      complete();
      return end;
    }
    this.next = next;
    void this.subscribe(answers).then((channels) => {
      const { id: connection, options } = this;
      const ready: ReadyEvent = { connection, heartbeatMs: options.heartbeatMs, channels };
      this.next?.(new Frame(encodeFrame({ event: 'messaging:ready', data: JSON.stringify(ready) })));
    });
    return end;
  }

  private listen(name: string): Listener {
    const template = isTemplate(name) ? name : '';
    const call =
      this.options.form === 'native'
        ? (message: unknown) => this.next?.(message)
        : () => this.send(this.hub.delivering!, template);
    return this.hub.listenTo(name, call, this.session, 'client subscription');
  }

  private send(delivery: Delivery, template: string): void {
    try {
      this.next?.(clientFrame(this.hub, delivery, template));
    } catch (error) {
      this.reporter.messageRejected({ channel: delivery.channel, error: error as Error });
    }
  }
}

/** A message as an event for our client; those who are sent the same share one. */
function clientFrame(hub: Hub, delivery: Delivery, template: string): Frame {
  const { clientFrames } = delivery.forms;
  let frame = clientFrames.get(template);
  if (frame === undefined) {
    const bytes = encodeFrame({ data: messageFrame(delivery, template) });
    clientFrames.set(template, (frame = new Frame(bytes, dropRuleOf(hub, delivery))));
  }
  return frame as Frame;
}

/** A `MessageFrame` as text; written by hand, since its parts are texts already. */
function messageFrame({ channel, postedAt, encoded }: Delivery, template: string): string {
  const { data, type, meta } = encoded;
  let text = `{"channel":${JSON.stringify(channel)},"at":${postedAt}`;
  if (template !== '') text += `,"template":${JSON.stringify(template)}`;
  if (type !== undefined) text += `,"type":${JSON.stringify(type)}`;
  if (meta !== undefined) text += `,"meta":${meta}`;
  return `${text},"data":${data}}`;
}
