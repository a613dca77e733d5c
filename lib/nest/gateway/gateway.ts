import {
  BadGatewayException,
  Inject,
  Injectable,
  NotFoundException,
  PayloadTooLargeException,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { whenHeard } from '../../core/heard.js';
import { Hub } from '../../core/hub.js';
import { NodeRequests } from '../../core/node-requests.js';
import type { Session } from '../../core/session.js';
import { InvalidMessageError, LimitExceededError } from '../../protocol/errors.js';
import type { ChannelAnswer } from '../../protocol/gateway.js';
import { readObject } from '../../protocol/wire-reader.js';
import { ClientConnection, type ClientConnectionOptions, type Lost } from '../../sse/client-connection.js';
import { ClientFeeds } from '../../sse/client-feeds.js';
import { ClientRecovery, type Position, type RecoveryQuestion } from '../../sse/client-recovery.js';
import { EventStreams } from '../../sse/event-streams.js';
import { LoggingReporter } from '../logging-reporter.js';
import { MESSAGING_OPTIONS, type ResolvedMessagingOptions } from '../messaging-options.js';
import { ChannelDecisions, type Requester } from './channel-decisions.js';
import { ClientChannels } from './client-channels.js';
import { ClientConnections, type ClientConnectionChange } from './client-connections.js';
import {
  MAX_UNSUBSCRIBED,
  isOwnedBy,
  ownerOf,
  readChangeOutcome,
  readConnectionChange,
  writeChangeOutcome,
  type ChangeOutcome,
  type ConnectionChange,
  type Owner,
} from './connection-change.js';
import { ConnectionSlots } from './connection-slots.js';
import { GATEWAY_OPTIONS, type GatewayOptions } from './gateway-options.js';

const TIMEOUT_MS = 5_000;
const RECOVERY_MS = 10_000;
const MAX_PENDING_REQUESTS = 1_000;
/** A stream waits for it: a node that takes longer is rather taken to be gone. */
const RECOVERY_TIMEOUT_MS = 1_000;

/** What nodes ask each other. */
type Question = { readonly change: ConnectionChange } | { readonly recover: RecoveryQuestion };

/** What an answer to another node is wrapped in. */
const ENVELOPE_BYTES = 1_000;

/** A place for a connection, taken before it is decided what it may have. */
export interface Reservation {
  readonly session: Session;
  connection: ClientConnection | undefined;
}

/** The client connections of this node, and the way to those of others. */
@Injectable()
export class Gateway implements OnApplicationBootstrap {
  private readonly connections = new Map<string, ClientConnection>();
  private readonly slots: ConnectionSlots;
  private readonly decisions: ChannelDecisions;
  private readonly nodes: NodeRequests;
  /** Connections of one form share their options. */
  private readonly forms: Readonly<Record<ClientConnectionOptions['form'], ClientConnectionOptions>>;
  private readonly feeds: ClientFeeds;
  private readonly recovery: ClientRecovery;
  private hasToldOfOthers = false;

  constructor(
    private readonly hub: Hub,
    channels: ClientChannels,
    streams: EventStreams,
    private readonly reporter: LoggingReporter,
    @Inject(MESSAGING_OPTIONS) private readonly options: ResolvedMessagingOptions,
    @Inject(GATEWAY_OPTIONS) private readonly gateway: GatewayOptions,
  ) {
    const { maxMessageBytes, maxSubscriptionsPerConnection } = options.limits;
    this.slots = new ConnectionSlots(options.limits);
    const { recoveryMs = RECOVERY_MS, maxPendingRequests = MAX_PENDING_REQUESTS } = gateway;
    this.decisions = new ChannelDecisions(channels, maxPendingRequests, maxSubscriptionsPerConnection);
    this.nodes = new NodeRequests(hub, (question) => this.answer(question));
    const kept = {
      heartbeatMs: options.sse.heartbeatMs,
      maxSubscriptions: maxSubscriptionsPerConnection,
    };
    this.forms = { native: { form: 'native', ...kept }, client: { form: 'client', ...kept } };
    this.feeds = new ClientFeeds(hub, reporter, streams.flusher, recoveryMs, options.sse.maxBufferedBytes);
    this.recovery = new ClientRecovery(
      hub,
      this.feeds,
      reporter,
      (node, recover) => this.nodes.ask(node, { recover } satisfies Question, RECOVERY_TIMEOUT_MS),
      { maxBytes: maxMessageBytes - ENVELOPE_BYTES, maxNames: maxSubscriptionsPerConnection },
    );
  }

  /** Resolves when other nodes are heard, unless they cannot be reached. */
  async onApplicationBootstrap(): Promise<void> {
    await whenHeard(this.hub, [this.nodes.listen()]);
  }

  /**
   * Takes a place for a connection, which it has until its session closes, whatever comes of it.
   *
   * @throws ServiceUnavailableException where this server holds as many connections as it may
   * @throws HttpException (429) where it does so for this user
   */
  reserve(session: Session): Reservation {
    const { auth } = session;
    const release = this.slots.take(auth);
    const reservation: Reservation = { session, connection: undefined };
    // One function for all that ends with a session: there may be 100,000 of them.
    session.onClose((reason) => {
      release();
      const id = reservation.connection?.id;
      if (id === undefined) return;
      this.connections.delete(id);
      this.tell({ kind: 'disconnected', connection: id, auth, reason });
    });
    return reservation;
  }

  /** What becomes of each channel that a client asks for; see {@link ChannelDecisions}. */
  decide(channels: readonly string[], requester: Requester): Promise<ChannelAnswer[]> {
    return this.decisions.decide(channels, requester);
  }

  /** A connection that lives as long as its session. */
  open(reservation: Reservation, form: 'native' | 'client'): ClientConnection {
    const { session } = reservation;
    const connection = new ClientConnection(this.hub, this.feeds, this.reporter, session, this.forms[form]);
    if (session.closed) return connection;
    reservation.connection = connection;
    this.connections.set(connection.id, connection);
    this.tell({ kind: 'connected', connection: connection.id, auth: session.auth });
    return connection;
  }

  /**
   * Changes what a connection is subscribed to, whichever node holds it.
   *
   * @throws NotFoundException (rejects) for a connection that does not exist, or is not the requester's
   * @throws TransportUnavailableError (rejects) where the node that holds it does not answer
   * @throws BadGatewayException (rejects) where its answer cannot be read
   * @throws PayloadTooLargeException (rejects) where that node cannot be told so much at once; nothing has changed
   */
  async change(
    connection: string,
    channels: { readonly subscribe: readonly string[]; readonly unsubscribe: readonly string[] },
    requester: Requester,
  ): Promise<ChannelAnswer[]> {
    const node = nodeOf(connection);
    const owner = ownerOf(requester.session.auth);
    if (node === undefined || !this.mayHold(node, connection, owner)) throw new NotFoundException();
    if (channels.unsubscribe.length > MAX_UNSUBSCRIBED) {
      throw new PayloadTooLargeException(`"unsubscribe" may hold ${MAX_UNSUBSCRIBED} channels at once`);
    }
    const answers = await this.decide(channels.subscribe, requester);
    const subscribe = answers.filter(({ error }) => error === undefined).map(({ channel }) => channel);
    const change: ConnectionChange = { connection, owner, subscribe, unsubscribe: channels.unsubscribe };
    const outcome = await (node === this.hub.node ? this.apply(change) : this.askFor(node, change));
    if (outcome === null) throw new NotFoundException();
    const errors = new Map(subscribe.map((channel, index) => [channel, outcome[index]]));
    return answers.map((answer) => {
      const error = answer.error ?? errors.get(answer.channel);
      return error ? { channel: answer.channel, error } : answer;
    });
  }

  /** What a client has lost of channels that it had, whichever node they came from. */
  lost(channels: readonly string[], position: Position): Lost {
    return { channels: new Set(channels), find: (names) => this.recovery.find(position, names) };
  }

  /** Whether it is worth to decide about a change: another node has to be asked first. */
  private mayHold(node: string, connection: string, owner: Owner): boolean {
    if (node !== this.hub.node) {
      if (!this.hub.hasTransport) this.tellOfOthers();
      return this.hub.hasTransport;
    }
    const held = this.connections.get(connection);
    return held !== undefined && isOwnedBy(owner, held.session.auth);
  }

  /** Once, since a client can name any process, and one that was just replaced is named as well. */
  private tellOfOthers(): void {
    if (this.hasToldOfOthers) return;
    this.hasToldOfOthers = true;
    this.reporter.warn(
      'other process',
      'A client asked this process to change a stream of another process, which cannot be reached without the option ' +
        '"redis". If several processes serve this application (node:cluster, PM2, replicas), they need it: without it, ' +
        'messages reach only some clients, and changes break streams off. After a restart this is told once, too, and is harmless',
    );
  }

  private async askFor(node: string, change: ConnectionChange): Promise<ChangeOutcome> {
    const timeoutMs = this.gateway.timeoutMs ?? TIMEOUT_MS;
    try {
      const answer = await this.nodes.ask(node, { change } satisfies Question, timeoutMs);
      return readChangeOutcome(answer, change.subscribe.length);
    } catch (error) {
      if (error instanceof LimitExceededError) {
        throw new PayloadTooLargeException(`Another server holds the stream; ask for less at once. ${error.message}`);
      }
      if (!(error instanceof InvalidMessageError)) throw error;
      this.reporter.messageRejected({ channel: `messaging:node/${node}`, error });
      throw new BadGatewayException('The server that holds the stream gave an answer that cannot be read');
    }
  }

  /** @throws InvalidMessageError for what is no {@link Question} */
  private async answer(question: unknown): Promise<unknown> {
    const { change, recover } = readObject(question, 'a question of another node');
    if (change === undefined) return this.recovery.answer(recover);
    const { maxSubscriptionsPerConnection } = this.options.limits;
    return writeChangeOutcome(await this.apply(readConnectionChange(change, maxSubscriptionsPerConnection)));
  }

  private tell(change: ClientConnectionChange): void {
    void this.hub.post(ClientConnections, change);
  }

  private async apply({ connection: id, owner, subscribe, unsubscribe }: ConnectionChange): Promise<ChangeOutcome> {
    const connection = this.connections.get(id);
    if (connection === undefined || !isOwnedBy(owner, connection.session.auth)) return null;
    connection.unsubscribe(unsubscribe);
    const answers = await connection.subscribe(subscribe.map((channel) => ({ channel })));
    return answers.map(({ error }) => error);
  }
}

/** The node that holds a connection, by the connection's id. */
function nodeOf(connection: string): string | undefined {
  return /^([\da-f-]{36})\.[\da-f-]{36}$/.exec(connection)?.[1];
}
