import {
  MessagingClient,
  type ClientErrorContext,
  type ClientStatus,
  type MessagingClientOptions,
} from 'nestjs-messaging/client';
import { Queue } from '../../support/queue.js';
import { ScriptedGateway } from '../../support/scripted-gateway.js';
import { CLOCK } from '../../../lib/client/clock.js';
import { FakeClock } from './fake-clock.js';

/** A client, the gateway it talks to, and all that it says. */
export class Harness implements AsyncDisposable {
  readonly statuses = new Queue<ClientStatus>();
  readonly errors = new Queue<{ error: Error; context: ClientErrorContext }>();
  readonly clock = new FakeClock();
  readonly client: MessagingClient;

  private constructor(
    readonly gateway: ScriptedGateway,
    options: Partial<MessagingClientOptions>,
  ) {
    this.client = new MessagingClient({
      url: gateway.url,
      [CLOCK]: this.clock,
      onError: (error, context) => this.errors.push({ error: error as Error, context }),
      ...options,
    });
    this.client.onStatus(this.statuses.push);
  }

  static async start(options: Partial<MessagingClientOptions> = {}): Promise<Harness> {
    return new Harness(await ScriptedGateway.start(), options);
  }

  /** Waits for a status, past others. */
  reaches(state: ClientStatus['state']): Promise<ClientStatus> {
    return this.statuses.until((status) => status.state === state);
  }

  /** A subscription whose messages wait in a queue, and the ready stream it comes by; for the first of a client. */
  async subscribed(channel = 'news') {
    const messages = new Queue<unknown>();
    const subscription = this.client.subscribe<unknown>(channel, messages.push);
    const stream = await this.gateway.ready();
    return { messages, stream, subscription: await subscription };
  }

  /** Waits until the stream has been read up to here. */
  async settled(stream: { event(name: string, data: unknown): void }): Promise<void> {
    const gaps = new Queue<unknown>();
    const stop = this.client.onGap(gaps.push);
    stream.event('messaging:gap', { channel: 'marker', reason: 'broker' });
    await gaps.next();
    stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close();
    await this.gateway[Symbol.asyncDispose]();
  }
}

/** Runs what is due as soon as possible: microtasks, then the event loop once. */
export const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
