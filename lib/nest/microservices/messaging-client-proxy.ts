import { Injectable } from '@nestjs/common';
import { ClientProxy, type MsPattern, type ReadPacket, type WritePacket } from '@nestjs/microservices';
import { BehaviorSubject, from, map, type Observable } from 'rxjs';
import type { Hub } from '../../core/hub.js';
import { isolateObservable } from '../../core/isolated-observable.js';
import { Channel, isChannel, type AnyPostableChannel } from '../../protocol/channel.js';
import { describe } from '../../protocol/channel-name.js';
import { InvalidChannelError, TransportUnavailableError } from '../../protocol/errors.js';
import { MessagingService } from '../messaging.service.js';
import { hubOf } from './hub-of.js';
import { linkStatus, type LinkStatus } from './link-status.js';
import { eventChannel, requestChannel } from './pattern.js';
import { PendingRequests, closedError } from './pending-requests.js';
import type { RequestPacket } from './request-reply.js';

/**
 * A `ClientProxy` over the messages of the application, with which a `MessagingServer` is reached: on this
 * server, and where Redis is configured on every other. Inject it; it is a provider like any other.
 *
 * A request that no server has a handler for is never answered: give it an end by RxJS's `timeout()`.
 *
 * @example
 * ```ts
 * @Injectable()
 * class Orders {
 *   constructor(private readonly client: MessagingClientProxy) {}
 *
 *   price(order: Order): Promise<number> {
 *     return firstValueFrom(this.client.send<number>('price', order).pipe(timeout(5_000)));
 *   }
 * }
 *
 * @Module({ imports: [MessagingModule.forRoot()], providers: [MessagingClientProxy, Orders] })
 * class AppModule {}
 * ```
 */
@Injectable()
export class MessagingClientProxy extends ClientProxy<Record<string, never>, LinkStatus> {
  private readonly hub: Hub;
  private readonly isOpen = new BehaviorSubject(true);
  private requests: PendingRequests | undefined = undefined;

  /** @throws ConfigurationError for anything but a MessagingService */
  constructor(private readonly messaging: MessagingService) {
    super();
    this.hub = hubOf(messaging, 'new MessagingClientProxy()');
  }

  /** How the link to the other servers is; `disconnected` after {@link close}, until it is used again. */
  override get status(): Observable<LinkStatus> {
    return linkStatus(this.hub, this.isOpen);
  }

  /** Prepares to take answers. Needs no call: {@link send} does it. */
  override async connect(): Promise<void> {
    if (this.requests === undefined || this.requests.closed) this.requests = new PendingRequests(this.hub);
    this.isOpen.next(true);
    await this.requests.ready();
  }

  /** Requests that wait for answers get an error. It may be used again afterwards. */
  override close(): void {
    this.isOpen.next(false);
    this.requests?.close();
    this.requests = undefined;
  }

  /** The MessagingService that it was made with. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- Nest's signature
  override unwrap<T = MessagingService>(): T {
    return this.messaging as T;
  }

  /**
   * Sends a request when the Observable is subscribed to, anew for each subscription. Of several servers
   * that answer, the first is heard; unsubscribing ends its work. What a handler throws is an error of the
   * Observable, in Nest's form `{ status: 'error', message }`.
   *
   * @throws InvalidChannelError for a pattern that is no channel name
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- Nest's signature
  override send<TResult = unknown, TInput = unknown>(pattern: unknown, data: TInput): Observable<TResult> {
    this.requestChannel(pattern);
    return this.isolate('send', super.send<TResult, TInput>(pattern, data));
  }

  /**
   * Posts to the channel that the pattern names, at once, with scope `auto`. The Observable only tells how
   * that went: it completes after one `undefined`, or fails with a `TransportUnavailableError` where Redis
   * did not accept the post; listeners of this server have got it all the same.
   *
   * @param pattern - a channel's name, a pattern of Nest's, or a channel
   * @throws InvalidChannelError for a pattern that is no channel name
   * @throws UnserializableError for what cannot travel
   */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- Nest's signature
  override emit<TResult = unknown, TInput = unknown>(pattern: unknown, data: TInput): Observable<TResult> {
    // Nil data is an error in Nest, which the base class gives.
    if (data === undefined || data === null) return this.isolate('emit', super.emit<TResult, TInput>(pattern, data));
    const posted = from(this.post(pattern, data));
    return this.isolate('emit', posted.pipe(map((accepted) => assertAccepted(accepted) as TResult)));
  }

  protected override publish({ pattern, data }: ReadPacket, callback: (packet: WritePacket) => void): () => void {
    if (this.requests === undefined) throw closedError();
    return this.requests.send(this.requestChannel(pattern), data, callback);
  }

  protected override async dispatchEvent<T = void>({ pattern, data }: ReadPacket): Promise<T> {
    return assertAccepted(await this.post(pattern, data)) as T;
  }

  protected override normalizePattern(pattern: unknown): string {
    return isChannel(pattern) ? pattern.name : super.normalizePattern(pattern as MsPattern);
  }

  /** RxJS throws what a subscriber throws, or has no `error` for, where nobody can catch it. */
  private isolate<T>(method: string, observable: Observable<T>): Observable<T> {
    return isolateObservable(observable, (error) =>
      this.hub.reporter.callbackFailed({ callback: `A subscriber of MessagingClientProxy.${method}()`, error }),
    );
  }

  private post(pattern: unknown, data: unknown): Promise<boolean> {
    const route = this.normalizePattern(pattern);
    const channel = eventChannel(pattern, route, `emit(${describe(route)})`);
    return this.hub.post(channel as AnyPostableChannel, data, { scope: 'auto' });
  }

  private requestChannel(pattern: unknown): Channel<RequestPacket> {
    const route = this.normalizePattern(pattern);
    const where = `send(${describe(route)})`;
    const channel = requestChannel(route, where);
    if (channel instanceof Channel) return channel;
    throw new InvalidChannelError(`${where}: the pattern is a template; fill in its parameters, as in "rooms/42"`);
  }
}

function assertAccepted(accepted: boolean): undefined {
  if (accepted) return undefined;
  throw new TransportUnavailableError('Redis did not accept the message in time; only this server has received it');
}
