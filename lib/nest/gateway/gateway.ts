import {
  HttpException,
  HttpStatus,
  Inject,
  Injectable,
  NotFoundException,
  ServiceUnavailableException,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { whenHeard } from '../../core/heard.js';
import { Hub } from '../../core/hub.js';
import { NodeRequests } from '../../core/node-requests.js';
import type { Session } from '../../core/session.js';
import type { AuthenticationInfo } from '../../protocol/authentication.js';
import type { ChannelAnswer } from '../../protocol/gateway.js';
import { ClientConnection, type ClientConnectionOptions, type Lost } from '../../sse/client-connection.js';
import { ClientFeeds } from '../../sse/client-feeds.js';
import { ClientRecovery, type Position, type RecoveryQuestion } from '../../sse/client-recovery.js';
import { EventStreams } from '../../sse/event-streams.js';
import { LoggingReporter } from '../logging-reporter.js';
import { MESSAGING_OPTIONS, type ResolvedMessagingOptions } from '../messaging-options.js';
import { ClientChannels } from './client-channels.js';
import { ClientConnections, type ClientConnectionChange } from './client-connections.js';
import type { GatewayOptions } from './gateway-options.js';

/** The token of {@link GatewayOptions}. */
export const GATEWAY_OPTIONS = Symbol('GATEWAY_OPTIONS');

const TIMEOUT_MS = 5_000;
const RECOVERY_MS = 10_000;
/** A stream waits for it: a node that takes longer is rather taken to be gone. */
const RECOVERY_TIMEOUT_MS = 1_000;

/** Who asks for a change of a connection. */
interface Requester {
  readonly auth: AuthenticationInfo | null;
  /** The HTTP request. */
  readonly request: unknown;
}

/** A change of a connection as it goes to the node that holds it, decided upon by the node that was asked. */
interface Change {
  readonly connection: string;
  readonly owner: Owner;
  readonly subscribe: readonly ChannelAnswer[];
  readonly unsubscribe: readonly string[];
}

/** What nodes ask each other. */
type Question = { readonly change: Change } | { readonly recover: RecoveryQuestion };

/** What an answer to another node is wrapped in. */
const ENVELOPE_BYTES = 1_000;

/** Whom a connection belongs to. */
interface Owner {
  readonly userId: string | null;
  readonly authId: string | null;
}

/** The client connections of this node, and the way to those of others. */
@Injectable()
export class Gateway implements OnApplicationBootstrap {
  private readonly connections = new Map<string, ClientConnection>();
  private readonly countByUser = new Map<string, number>();
  private readonly nodes: NodeRequests;
  /** Connections of one form share their options. */
  private readonly forms: Readonly<Record<ClientConnectionOptions['form'], ClientConnectionOptions>>;
  private readonly feeds: ClientFeeds;
  private readonly recovery: ClientRecovery;

  constructor(
    private readonly hub: Hub,
    private readonly channels: ClientChannels,
    streams: EventStreams,
    private readonly reporter: LoggingReporter,
    @Inject(MESSAGING_OPTIONS) private readonly options: ResolvedMessagingOptions,
    @Inject(GATEWAY_OPTIONS) private readonly gateway: GatewayOptions,
  ) {
    this.nodes = new NodeRequests(hub, (question) => this.answer(question as Question));
    const kept = {
      heartbeatMs: options.sse.heartbeatMs,
      maxSubscriptions: options.limits.maxSubscriptionsPerConnection,
    };
    this.forms = { native: { form: 'native', ...kept }, client: { form: 'client', ...kept } };
    const { recoveryMs = RECOVERY_MS } = gateway;
    this.feeds = new ClientFeeds(hub, reporter, streams.flusher, recoveryMs, options.sse.maxBufferedBytes);
    this.recovery = new ClientRecovery(
      hub,
      this.feeds,
      reporter,
      (node, recover) => this.nodes.ask(node, { recover } satisfies Question, RECOVERY_TIMEOUT_MS),
      options.limits.maxMessageBytes - ENVELOPE_BYTES,
    );
  }

  /** Resolves when other nodes are heard, unless they cannot be reached. */
  async onApplicationBootstrap(): Promise<void> {
    await whenHeard(this.hub, [this.nodes.listen()]);
  }

  /**
   * @throws ServiceUnavailableException where this server holds as many connections as it may
   * @throws HttpException (429) where it does so for this user
   */
  assertRoom({ auth }: Session): void {
    const { maxConnections, maxConnectionsPerUser } = this.options.limits;
    if (this.connections.size >= maxConnections) {
      throw new ServiceUnavailableException(`This server holds ${maxConnections} connections (limits.maxConnections)`);
    }
    if (auth !== null && (this.countByUser.get(String(auth.userId)) ?? 0) >= maxConnectionsPerUser) {
      throw new HttpException(
        `This user has ${maxConnectionsPerUser} connections (limits.maxConnectionsPerUser)`,
        HttpStatus.TOO_MANY_REQUESTS,
      );
    }
  }

  /** What becomes of each channel that a client asks for. No more are looked at than one connection may have. */
  decide(channels: readonly string[], { auth, request }: Requester): Promise<ChannelAnswer[]> {
    const { maxSubscriptionsPerConnection } = this.options.limits;
    const decisions = channels.map(async (channel, index): Promise<ChannelAnswer> => {
      if (index >= maxSubscriptionsPerConnection) return { channel, error: 'LIMIT_EXCEEDED' };
      return this.channels.decide(channel, auth, request);
    });
    return Promise.all(decisions);
  }

  /** A connection that lives as long as its session. */
  open(session: Session, form: 'native' | 'client'): ClientConnection {
    const connection = new ClientConnection(this.hub, this.feeds, this.reporter, session, this.forms[form]);
    const { id } = connection;
    const { auth } = session;
    this.connections.set(id, connection);
    this.count(auth, 1);
    this.tell({ kind: 'connected', connection: id, auth });
    session.onClose((reason) => {
      this.connections.delete(id);
      this.count(auth, -1);
      this.tell({ kind: 'disconnected', connection: id, auth, reason });
    });
    return connection;
  }

  /**
   * Changes what a connection is subscribed to, whichever node holds it.
   *
   * @throws NotFoundException (rejects) for a connection that does not exist, or is not the requester's
   * @throws TransportUnavailableError (rejects) where the node that holds it does not answer
   */
  async change(
    connection: string,
    channels: { readonly subscribe: readonly string[]; readonly unsubscribe: readonly string[] },
    requester: Requester,
  ): Promise<ChannelAnswer[]> {
    const node = nodeOf(connection);
    if (node === undefined || (node !== this.hub.node && !this.hub.hasTransport)) throw new NotFoundException();
    const subscribe = await this.decide(channels.subscribe, requester);
    const change: Change = { connection, owner: ownerOf(requester.auth), subscribe, unsubscribe: channels.unsubscribe };
    const answers =
      node === this.hub.node
        ? await this.apply(change)
        : await this.nodes.ask(node, { change } satisfies Question, this.gateway.timeoutMs ?? TIMEOUT_MS);
    if (answers === null) throw new NotFoundException();
    return answers as ChannelAnswer[];
  }

  /** What a client has lost of channels that it had, whichever node they came from. */
  lost(channels: readonly string[], position: Position): Lost {
    return { channels: new Set(channels), find: (names) => this.recovery.find(position, names) };
  }

  private answer(question: Question): unknown {
    return 'change' in question ? this.apply(question.change) : this.recovery.answer(question.recover);
  }

  private count(auth: AuthenticationInfo | null, change: 1 | -1): void {
    if (auth === null) return;
    const user = String(auth.userId);
    const count = (this.countByUser.get(user) ?? 0) + change;
    if (count === 0) this.countByUser.delete(user);
    else this.countByUser.set(user, count);
  }

  private tell(change: ClientConnectionChange): void {
    void this.hub.post(ClientConnections, change);
  }

  /** @returns `null` where there is no such connection of this owner */
  private async apply({ connection: id, owner, subscribe, unsubscribe }: Change): Promise<ChannelAnswer[] | null> {
    const connection = this.connections.get(id);
    if (connection === undefined) return null;
    const { userId, authId } = ownerOf(connection.session.auth);
    if (owner.userId !== userId || owner.authId !== authId) return null;
    connection.unsubscribe(unsubscribe);
    return connection.subscribe(subscribe);
  }
}

function ownerOf(auth: AuthenticationInfo | null): Owner {
  return { userId: auth === null ? null : String(auth.userId), authId: auth?.authId ?? null };
}

/** The node that holds a connection, by the connection's id. */
function nodeOf(connection: string): string | undefined {
  return /^([\da-f-]{36})\.[\da-f-]{36}$/.exec(connection)?.[1];
}
