import type { Observable } from 'rxjs';
import { describe, kindOf } from '../protocol/channel-name.js';
import { ConfigurationError, InvalidMessageError, TransportUnavailableError } from '../protocol/errors.js';
import { GAP_REASONS, isGapReason, positionFrom } from '../protocol/position.js';
import type { HistoryStore } from './history-store.js';
import { inTime } from './in-time.js';
import { IsolatedHistoryStore } from './isolated-history-store.js';
import { isolateStatus } from './isolated-status.js';
import { isolate } from './isolate.js';
import type { Reporter } from './reporter.js';
import type {
  PublishOptions,
  SubscribeOptions,
  Transport,
  TransportEvents,
  TransportReceiver,
  TransportStatus,
} from './transport.js';

/** How long the application waits for a transport to start or to close. */
const PATIENCE_MS = 10_000;

/** How long a question to the transport may take, in milliseconds. */
const ANSWER_PATIENCE_MS = 2_000;

/**
 * Holds an application's transport to its contract. Errors, rejections and invalid results are reported; a failed post counts as not
 * accepted. Only `start` may reject, as the contract allows.
 */
export class IsolatedTransport implements Transport {
  readonly history: HistoryStore | undefined;
  readonly noInterop: string | undefined;
  readonly status: Observable<TransportStatus>;
  /** Resolves with `undefined` also if the transport fails, or takes longer than {@link ANSWER_PATIENCE_MS}. */
  readonly hearers?: (name: string) => Promise<number | undefined>;

  constructor(
    private readonly transport: Transport,
    private readonly reporter: Reporter,
  ) {
    const { history, noInterop } = transport;
    this.status = isolateStatus(transport, (error) => this.failed('status', error));
    this.noInterop = typeof noInterop === 'string' ? noInterop : undefined;
    this.history = history && new IsolatedHistoryStore(history, reporter);
    if (transport.hearers !== undefined) {
      this.hearers = (name) => this.ask('hearers', () => transport.hearers!(name), isCount, 'a count');
    }
  }

  async start(receiver: TransportReceiver, events: TransportEvents = {}): Promise<void> {
    const { rejected, lost, interrupted, beforePosts, warned } = events;
    const receiveAt = (payload: string, subscription: string, channel: string, given: unknown): void => {
      const position = positionFrom(given);
      if (position !== undefined) return receiver(payload, subscription, channel, position);
      const text = `the transport must hand over a position { epoch, offset } or none, not ${describe(given)}`;
      rejected?.(channel, new InvalidMessageError(text));
    };
    const receive = (payload: unknown, subscription: unknown, channel: unknown, position?: unknown): void => {
      if (typeof payload === 'string' && typeof subscription === 'string' && typeof channel === 'string') {
        return position === undefined
          ? receiver(payload, subscription, channel)
          : receiveAt(payload, subscription, channel, position);
      }
      const what = `${kindOf(payload)}, ${describe(subscription)} and ${describe(channel)}`;
      const error = new InvalidMessageError(`the transport must hand over three strings, not ${what}`);
      rejected?.(typeof channel === 'string' ? channel : '', error);
    };
    const lose = (subscription: unknown, reason: unknown, forMs?: unknown): void => {
      if (typeof subscription === 'string' && isGapReason(reason)) {
        // Without it, readers of templates get a gap.
        return lost?.(subscription, reason, typeof forMs === 'number' && forMs >= 0 ? forMs : undefined);
      }
      const what = `${describe(subscription)} and ${describe(reason)}`;
      const text = `"lost" takes a subscription and one of ${GAP_REASONS.join(', ')}, not ${what}`;
      this.reporter.callbackFailed({
        callback: 'A call of "lost" by the transport',
        error: new ConfigurationError(text),
      });
    };
    const warn = (text: unknown): void => {
      if (typeof text === 'string') warned?.(text);
    };
    const started = this.transport.start(receive, { rejected, lost: lose, interrupted, beforePosts, warned: warn });
    await this.waitFor('start', started, 'the application goes on without it');
  }

  publish(channel: string, payload: string, options?: PublishOptions): Promise<boolean> {
    try {
      return Promise.resolve(this.transport.publish(channel, payload, options)).then(this.accepted, this.refused);
    } catch (error) {
      return Promise.resolve(this.refused(error));
    }
  }

  async subscribe(name: string, options?: SubscribeOptions): Promise<void> {
    try {
      await this.transport.subscribe(name, options);
    } catch (error) {
      this.failed('subscribe', error);
    }
  }

  unsubscribe(name: string): void {
    isolate(this.reporter, callbackOf('unsubscribe'), () => this.transport.unsubscribe(name));
  }

  /** Resolves with `false` also if the transport fails, or takes longer than {@link ANSWER_PATIENCE_MS}. */
  async catchUp(): Promise<boolean> {
    const question = (): unknown => (this.transport.catchUp === undefined ? true : this.transport.catchUp());
    return (await this.ask('catchUp', question, isBoolean, 'true, false')) ?? false;
  }

  /** Resolves also if the transport fails, or takes longer than {@link PATIENCE_MS}. */
  async settled(): Promise<void> {
    try {
      if (this.transport.settled !== undefined)
        await this.waitFor('settled', this.transport.settled(), 'clients that change servers may get messages twice');
    } catch (error) {
      this.failed('settled', error);
    }
  }

  async close(): Promise<void> {
    try {
      await this.waitFor('close', this.transport.close(), 'the application ends without it');
    } catch (error) {
      this.failed('close', error);
    }
  }

  private async ask<T>(
    method: keyof Transport,
    question: () => unknown,
    isAnswer: (answer: unknown) => answer is T,
    expected: string,
  ): Promise<T | undefined> {
    try {
      const answer = await inTime(question(), ANSWER_PATIENCE_MS, () => undefined);
      if (answer === undefined || isAnswer(answer)) return answer;
      throw new ConfigurationError(`it must resolve to ${expected} or undefined, not ${describe(answer)}`);
    } catch (error) {
      this.failed(method, error);
      return undefined;
    }
  }

  /** Waits at most {@link PATIENCE_MS}; reports a later failure. */
  private async waitFor(method: keyof Transport, done: unknown, otherwise: string): Promise<void> {
    let isLate = false;
    const settled = Promise.resolve(done).then(
      () => undefined,
      (error: unknown) => {
        if (!isLate) throw error;
        this.failed(method, error);
      },
    );
    await inTime(settled, PATIENCE_MS, () => {
      isLate = true;
      const text = `it has not resolved for ${PATIENCE_MS / 1_000} s; ${otherwise}`;
      this.failed(method, new TransportUnavailableError(text));
    });
  }

  private readonly accepted = (answer: unknown): boolean => {
    if (typeof answer === 'boolean') return answer;
    return this.refused(new ConfigurationError(`it must resolve to true or false, not ${describe(answer)}`));
  };

  private readonly refused = (error: unknown): false => {
    this.failed('publish', error);
    return false;
  };

  private failed(method: keyof Transport, error: unknown): void {
    this.reporter.callbackFailed({ callback: callbackOf(method), error });
  }
}

function isBoolean(value: unknown): value is boolean {
  return typeof value === 'boolean';
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function callbackOf(method: keyof Transport): string {
  return `"${method}" of the transport`;
}
