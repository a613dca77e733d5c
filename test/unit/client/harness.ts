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

/** A client, its gateway, and all of its reports. */
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

  /** Waits for a status and skips others. */
  reaches(state: ClientStatus['state']): Promise<ClientStatus> {
    return this.statuses.until((status) => status.state === state);
  }

  /** A subscription with its messages in a queue, and the ready stream that carries it; for a client's first subscription. */
  async subscribed(channel = 'news') {
    const messages = new Queue<unknown>();
    const subscription = this.client.subscribe<unknown>(channel, messages.push);
    const stream = await this.gateway.ready();
    return { messages, stream, subscription: await subscription };
  }

  /** Waits until the client has read the stream up to here. */
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

/** Runs everything that is due as soon as possible: microtasks, then the event loop once. */
export const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
