import { whenHeard } from '../core/heard.js';
import type { Hub } from '../core/hub.js';
import { NodeRequests } from '../core/node-requests.js';
import type { Session } from '../core/session.js';
import type { SessionCloseReason } from '../core/session-close-reason.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import { InvalidMessageError, LimitExceededError } from '../protocol/errors.js';
import type { ChangeAnswer, ChannelAnswer, SubscribeError } from '../protocol/gateway.js';
import { readObject } from '../protocol/wire-reader.js';
import { Admissions } from './admission.js';
import { ChannelFeeds } from './channel-feeds.js';
import { KnownRules } from './channel-rule.js';
import type { Claim } from './claim.js';
import { ClientConnection } from './client-connection.js';
import type { ConnectionContext } from './connection-context.js';
import type { GatewayParts, GatewaySettings } from './gateway-parts.js';
import { Grants } from './grants.js';
import { Leaving, backWithin, tellLeft } from './leaving.js';
import { LostConnections } from './lost-connections.js';
import { EarlyOrders } from './early-orders.js';
import { RecentEnds } from './recent-ends.js';
import { Recovery } from './recovery.js';
import { RecoveryAnswers } from './recovery-answers.js';
import type { Returned } from './recovery-wire.js';
import type { Reporter } from '../core/reporter.js';
import { ChannelDecisions } from './channel-decisions.js';
import { ClientConnectionChanges, type ClientConnectionChange } from './client-connection-changes.js';
import {
  isOf,
  readChangeOutcome,
  writeConnectionChange,
  readConnectionChange,
  writeChangeOutcome,
  type ChangeOutcome,
  type ConnectionChange,
} from './connection-change.js';
import { ConnectionDirectory, isUser, nodeOf } from './connection-directory.js';
import { reasonOf, type ConnectionOrder } from './connection-order.js';
import { Refusal, clientLeft, noConnection } from './refusal.js';
import { readRenewable, readRenewalQuestion, type Renewal, type RenewalQuestion } from './renewal.js';
import { RequestPlaces } from './request-places.js';
import { Reservation } from './reservation.js';
import type { Requester } from './requester.js';
import { grantReplays, type Granted, type RequestedReplay } from './replay-request.js';

/** The size of the envelope around an answer to another node. */
const ENVELOPE_BYTES = 1_000;
/** How long other nodes may take to report that they exist. */
const OTHERS_TIMEOUT_MS = 1_500;

/** The change that a client requests. */
export interface RequestedChange {
  readonly subscribe: readonly string[];
  readonly unsubscribe: readonly string[];
  /** How far it says that it has read the channels. */
  readonly claims: ReadonlyMap<string, Claim>;
  /** The earlier messages that it requests. */
  readonly replays: readonly RequestedReplay[];
  /** Whether the stream should continue with the sign-in of the request. */
  readonly renew: boolean;
}

/** How long missed messages are kept for the next clients that have missed the same. In milliseconds. */
const KEEP_REPLAYS_MS = 1_000;

/** The claims and replays of a request. */
type WantedPast = Pick<RequestedChange, 'claims' | 'replays'>;

const NO_PAST: WantedPast = { claims: new Map(), replays: [] };

/** The client connections of this node, and access to those of other nodes. */
export class Gateway {
  private readonly hub: Hub;
  private readonly reporter: Reporter;
  private readonly connections = new Map<string, ClientConnection>();
  /** Connections that are not open yet, and the orders to carry out when they open. */
  private readonly opening = new Map<Reservation, ConnectionOrder[]>();
  private readonly early = new EarlyOrders();
  private readonly lost = new LostConnections();
  private readonly places: RequestPlaces;
  private readonly decisions: ChannelDecisions;
  private readonly nodes: NodeRequests;
  private readonly feeds: ChannelFeeds;
  /** Shared by all connections. */
  private readonly context: ConnectionContext;
  private readonly answers: RecoveryAnswers;
  /** The connections of all nodes. */
  readonly directory: ConnectionDirectory;
  private leaving: Leaving | undefined = undefined;
  /** When this node must be gone, by `performance.now()`. */
  private leavesAt = Infinity;
  private hasToldOfOthers = false;

  constructor(
    private readonly parts: GatewayParts,
    private readonly settings: GatewaySettings,
  ) {
    const { hub, streams, reporter, channels } = parts;
    const { limits, recoveryMs: keepMs, recoveryBytes: maxBytes, maxPendingRequests, maxRecoveriesAtOnce } = settings;
    const { heartbeatMs, maxBufferedBytes: maxMissedBytes } = streams.options;
    const maxSubscriptions = limits.maxSubscriptionsPerConnection;
    this.hub = hub;
    this.reporter = reporter;
    this.places = new RequestPlaces(maxPendingRequests);
    this.decisions = new ChannelDecisions(channels, this.places, maxSubscriptions);
    this.nodes = new NodeRequests(hub, (question) => this.answer(question));
    this.feeds = new ChannelFeeds({ hub, flusher: streams.flusher }, { keepMs, maxBytes, maxMissedBytes });
    const admissions = new Admissions(hub.node);
    const recovery = new Recovery(hub, admissions, this.nodes, maxRecoveriesAtOnce);
    const { queue } = streams;
    const { feeds } = this;
    let forgetting: NodeJS.Timeout | undefined;
    // Even thousands of clients that return at once are accepted one by one, each perhaps to an empty queue.
    queue.onEmpty = () => {
      forgetting ??= setTimeout(() => {
        forgetting = undefined;
        recovery.replays.clear();
        feeds.reads.clear();
      }, KEEP_REPLAYS_MS).unref();
    };
    const returned = (connections: readonly Returned[]): void => this.lost.returned(connections);
    const grants = new Grants(hub.sessions);
    const ends = new RecentEnds();
    const shared = { hub, feeds, admissions, grants, rules: new KnownRules(), ends, recovery, queue, returned };
    this.context = { ...shared, heartbeatMs, maxSubscriptions };
    const maxAnswerBytes = limits.maxMessageBytes - ENVELOPE_BYTES;
    this.answers = new RecoveryAnswers(hub, feeds, admissions, maxAnswerBytes, (connections) => {
      returned(connections);
      this.leaving?.noteQuestion(connections);
    });
    const held = { open: this.connections, orderOpening: this.orderOpening.bind(this) };
    this.directory = new ConnectionDirectory(hub, this.nodes, held, ends, settings.timeoutMs, maxAnswerBytes);
  }

  /** Starts to hear other nodes. Resolves when it hears them, or if they cannot be reached. */
  async start(): Promise<void> {
    await whenHeard(this.hub, this.nodes.listen());
  }

  /**
   * Call it when the clients are about to be sent away. From then on, this node only answers other nodes about these clients and about
   * recently lost ones, until {@link whenLeft}. Further calls have no effect.
   *
   * @returns the time by which the clients must be back elsewhere, in milliseconds from the first call; `undefined` if this node does
   *   not wait: no such client needs it and no other node waits for an answer, it has no transport, or it keeps nothing for them
   */
  leave(): number | undefined {
    const { leaveMs, recoveryMs } = this.settings;
    if (this.leaving !== undefined) return backWithin(leaveMs);
    this.leavesAt = performance.now() + leaveMs;
    if (!this.hub.hasTransport || leaveMs === 0 || recoveryMs === 0) return undefined;
    const open = [...this.connections.values()].filter(({ needsNode }) => needsNode);
    const away = [...this.lost.recent, ...open.map(({ returnsAs }) => returnsAs)];
    const { owed } = this.answers;
    if (away.length === 0 && owed.until < performance.now()) return undefined;
    this.leaving = new Leaving(away, leaveMs, this.nodes.hasOthers(OTHERS_TIMEOUT_MS), owed);
    return backWithin(leaveMs);
  }

  /** Resolves when nobody needs this node any more, and the others know; does not wait for clients unless {@link leave} was called. */
  async whenLeft(): Promise<void> {
    const hasOthers = await this.leaving?.whenOver();
    await tellLeft(this.hub, this.nodes, hasOthers === false ? 0 : this.leavesAt - performance.now());
  }

  /** Notes a future connection. It is known until its session closes, whether it opens or not. */
  reserve(session: Session): Reservation {
    const reservation = new Reservation(session, this);
    this.opening.set(reservation, this.early.of(reservation.auth, session.since));
    session.onClose(reservation);
    return reservation;
  }

  /** Called by a reservation whose session has closed. */
  ended(reservation: Reservation, reason: SessionCloseReason): void {
    this.opening.delete(reservation);
    const { connection, auth } = reservation;
    if (connection === undefined) return;
    const { id } = connection;
    this.connections.delete(id);
    if (connection.needsNode) this.lost.note(connection.returnsAs, reason);
    this.tell({ kind: 'disconnected', connection: id, auth, reason });
  }

  /**
   * Decides about the channels and the earlier messages that a client requests; see {@link ChannelDecisions}.
   *
   * @throws LimitReached (rejects) also if earlier messages are requested too often
   * @throws Refusal (rejects) also if more listeners request earlier messages than the client may have channels
   */
  async decide(channels: readonly string[], requester: Requester, wanted: WantedPast = NO_PAST): Promise<Granted> {
    const { claims, replays } = wanted;
    const { maxSubscriptionsPerConnection: most } = this.settings.limits;
    if (replays.length > most) throw new Refusal('tooMuch', `Ask for the past of ${most} listeners at most at once`);
    if (claims.size + replays.length > 0) this.parts.clients.recover(requester.session.auth, requester.address);
    return grantReplays(this.hub, await this.decisions.decide(channels, requester), claims, replays);
  }

  /** Opens a connection that lasts as long as its session. */
  open(reservation: Reservation): ClientConnection {
    const { session } = reservation;
    const orders = this.opening.get(reservation) ?? [];
    this.opening.delete(reservation);
    const connection = new ClientConnection(this.context, session);
    for (const order of orders) {
      if (order.kind === 'disconnect') session.end(reasonOf(order));
      else this.context.ends.note(connection.id, order.channel);
    }
    if (session.closed) return connection;
    reservation.connection = connection;
    this.connections.set(connection.id, connection);
    this.tell({ kind: 'connected', connection: connection.id, auth: session.auth });
    return connection;
  }

  /**
   * Changes the subscriptions of a connection, whichever node holds it.
   *
   * @throws LimitReached (rejects) as {@link decide}
   * @throws Refusal (rejects) if the connection does not exist or belongs to another user, if the answer of its node cannot be read, and
   *   if the change is too long for a message; nothing has changed then
   * @throws TransportUnavailableError (rejects) if the node that holds it does not answer
   */
  async change(
    connection: string,
    channels: RequestedChange,
    requester: Requester,
    after?: number,
  ): Promise<ChangeAnswer> {
    const begun = performance.now();
    const { session } = requester;
    if (session.closed) throw clientLeft();
    const node = nodeOf(connection);
    const { auth } = session;
    if (node === undefined || !this.mayHold(node, connection, auth)) throw noConnection();
    const decided = await this.decide(channels.subscribe, requester, channels);
    const { answers, rules, claims, replays, replayAnswers } = decided;
    const subscribe = answers.filter(({ error }) => error === undefined).map(({ channel }) => channel);
    const { unsubscribe, renew } = channels;
    const renewal = renew ? await this.decideRenewal(node, connection, requester) : undefined;
    const age = { tookMs: Math.ceil(performance.now() - begun), after };
    const change: ConnectionChange = { connection, auth, subscribe, rules, claims, replays, unsubscribe, renewal, age };
    const outcome = await (node === this.hub.node ? this.apply(change) : this.askFor(node, change, requester));
    if (outcome === null) throw noConnection();
    const errors = new Map(subscribe.map((channel, index) => [channel, outcome.errors[index]]));
    // The application ended these subscriptions meanwhile, so their authorizers are called once more.
    const overruled = after === undefined ? subscribe.filter((channel) => errors.get(channel) === 'OVERRULED') : [];
    const again = await this.changeAgain(connection, overruled, channels, requester, outcome.order);
    const told = answers.map((answer): ChannelAnswer => {
      const { channel } = answer;
      const error = errors.get(channel);
      if (error === undefined) return answer;
      return again.get(channel) ?? { channel, error: error === 'OVERRULED' ? 'CHANNEL_DENIED' : error };
    });
    return {
      channels: told,
      ...(replayAnswers.length > 0 && { replays: replayAnswers }),
      ...(renew && { renewed: outcome.isRenewed }),
    };
  }

  private async changeAgain(
    connection: string,
    subscribe: readonly string[],
    { claims, replays }: RequestedChange,
    requester: Requester,
    after: number,
  ): Promise<ReadonlyMap<string, ChannelAnswer>> {
    if (subscribe.length === 0) return new Map();
    const theirs = replays.filter(({ channel }) => subscribe.includes(channel));
    const change = { subscribe, unsubscribe: [], claims, replays: theirs, renew: false };
    const { channels } = await this.change(connection, change, requester, after);
    return new Map(channels.map((answer) => [answer.channel, answer]));
  }

  /** @returns the channels of the stream that the sign-in may use; `undefined` if it cannot replace the stream's own sign-in */
  private async decideRenewal(node: string, connection: string, requester: Requester): Promise<Renewal | undefined> {
    const { auth } = requester.session;
    if (auth === null) return undefined;
    const question: RenewalQuestion = { connection, auth };
    const { maxSubscriptionsPerConnection: most } = this.settings.limits;
    const names = await (node === this.hub.node
      ? this.renewable(question)
      : this.ask(node, requester, { renewal: question }, (answer) => readRenewable(answer, most)));
    if (names === undefined) return undefined;
    const { answers, rules } = await this.decisions.decide(names, requester);
    const namesOf = (isDenied: boolean): string[] =>
      answers.filter(({ error }) => (error !== undefined) === isDenied).map(({ channel }) => channel);
    return { granted: namesOf(false), denied: namesOf(true), rules };
  }

  /** The channels of a connection of this node, if this sign-in may replace its own. */
  private renewable({ connection: id, auth }: RenewalQuestion): readonly string[] | undefined {
    const connection = this.connections.get(id);
    return connection?.session.isRenewedBy(auth) ? connection.names : undefined;
  }

  /** Whether the connection may exist, so that deciding about a change is worthwhile. Another node has to be asked first. */
  private mayHold(node: string, connection: string, auth: AuthenticationInfo | null): boolean {
    if (node !== this.hub.node) {
      if (!this.hub.hasTransport) this.tellOfOthers();
      return this.hub.hasTransport;
    }
    const held = this.connections.get(connection);
    return held !== undefined && isOf(held.session.auth, auth);
  }

  /** Only once: a client can name any process, and recently replaced ones are named as well. */
  private tellOfOthers(): void {
    if (this.hasToldOfOthers) return;
    this.hasToldOfOthers = true;
    this.parts.otherServerNamed();
  }

  private askFor(node: string, change: ConnectionChange, requester: Requester): Promise<ChangeOutcome> {
    const question = { change: writeConnectionChange(change) };
    return this.ask(node, requester, question, (answer) => readChangeOutcome(answer, change.subscribe.length));
  }

  private async ask<T>(
    node: string,
    requester: Requester,
    question: unknown,
    read: (answer: unknown) => T,
  ): Promise<T> {
    const ask = () => this.nodes.ask(node, question, this.settings.timeoutMs);
    try {
      // A client can invent any number of nodes, and make this one wait for each.
      return read(await (this.nodes.knows(node) ? ask() : this.places.during(requester, ask)));
    } catch (error) {
      if (error instanceof LimitExceededError) {
        throw new Refusal(
          'tooMuch',
          'Another server holds the stream, and the question to it would be longer than limits.maxMessageBytes; ask for less at once',
        );
      }
      if (!(error instanceof InvalidMessageError)) throw error;
      this.reporter.messageRejected({ channel: `messaging:node/${node}`, error });
      throw new Refusal('badAnswer', 'The server that holds the stream gave an answer that cannot be read');
    }
  }

  /** @throws InvalidMessageError (rejects) for an invalid question */
  private async answer(question: unknown): Promise<unknown> {
    const { change, recover, connections, renewal } = readObject(question, 'a question of another node');
    if (renewal !== undefined) return this.renewable(readRenewalQuestion(renewal)) ?? null;
    if (connections !== undefined) return this.directory.answer(connections);
    if (change === undefined) return this.answers.answer(recover);
    const { maxSubscriptionsPerConnection } = this.settings.limits;
    const asked = readConnectionChange(change, maxSubscriptionsPerConnection);
    const { tookMs } = asked.age;
    // The request may have been under way for the whole timeout.
    const age = { ...asked.age, tookMs: tookMs + this.settings.timeoutMs };
    // The other node decided whether this client may use it, but not whether any client may use it on this server.
    const { channels } = this.parts;
    return writeChangeOutcome(await this.apply({ ...asked, age }, (channel) => channels.faultOf(channel)));
  }

  /** See {@link HeldConnections.orderOpening}. */
  private orderOpening(userId: string, order: ConnectionOrder): number {
    if (order.kind === 'disconnect') this.early.note(userId, order, ++this.hub.sessions.revocations.order);
    const opening = [...this.opening].filter(([{ session }]) => isUser(session.auth, userId));
    for (const [, orders] of opening) orders.push(order);
    return opening.length;
  }

  private tell(change: ClientConnectionChange): void {
    void this.hub.post(ClientConnectionChanges, change);
  }

  private async apply(
    { connection: id, auth, subscribe, rules, claims, replays, unsubscribe, renewal, age }: ConnectionChange,
    faultOf: (channel: string) => SubscribeError | undefined = () => undefined,
  ): Promise<ChangeOutcome> {
    const connection = this.connections.get(id);
    if (connection === undefined || !isOf(connection.session.auth, auth)) return null;
    connection.unsubscribe(unsubscribe);
    const isRenewed = renewal !== undefined && auth !== null && connection.renew(auth, renewal);
    const { ends } = this.context;
    const overruled = new Set(subscribe.filter((channel) => ends.overrule(id, channel, age)));
    const answers = await connection.subscribe(
      subscribe.flatMap((channel) => (overruled.has(channel) ? [] : withError(channel, faultOf(channel)))),
      claims,
      replays.filter(({ channel }) => !overruled.has(channel)),
      auth,
      rules,
    );
    const errors = new Map(answers.map(({ channel, error }) => [channel, error]));
    return {
      errors: subscribe.map((channel) => (overruled.has(channel) ? 'OVERRULED' : errors.get(channel))),
      isRenewed,
      order: ends.order,
    };
  }
}

function withError(channel: string, error: SubscribeError | undefined): ChannelAnswer {
  return error === undefined ? { channel } : { channel, error };
}
