import { createParser } from 'eventsource-parser';
import { Hub } from '../../lib/core/hub.js';
import type { Session } from '../../lib/core/session.js';
import { NativeProof, claimOf } from '../../lib/gateway/claim.js';
import type { ChannelRule } from '../../lib/gateway/channel-rule.js';
import type { ClientConnection } from '../../lib/gateway/client-connection.js';
import { Gateway } from '../../lib/gateway/gateway.js';
import type { GapEvent, MessageFrame, PositionEvent, ReadyEvent } from '../../lib/protocol/gateway.js';
import type { Transport } from '../../lib/core/transport.js';
import { DEFAULT_LIMITS, type Limits } from '../../lib/protocol/limits.js';
import type { Position } from '../../lib/protocol/position.js';
import { Batch } from '../../lib/sse/batch.js';
import { ClientLimits } from '../../lib/sse/client-limits.js';
import type { EventStreams } from '../../lib/sse/event-streams.js';
import { Flusher } from '../../lib/sse/flusher.js';
import type { Frame } from '../../lib/sse/frame.js';
import { WorkQueue } from '../../lib/sse/work-queue.js';
import { MemoryBroker } from '../../lib/transport/memory-broker.js';
import { MemoryTransport } from '../../lib/transport/memory-transport.js';
import { Queue } from './queue.js';
import { RecordingReporter } from './recording-reporter.js';

export interface GatewayNodeOptions {
  readonly recoveryMs?: number;
  readonly recoveryBytes?: number;
  readonly leaveMs?: number;
  readonly maxBufferedBytes?: number;
  readonly limits?: Partial<Limits>;
}

/** A client: its user, and its earlier connection. */
export interface Client {
  /** Its earlier connection. */
  readonly from?: string;
  /** How long it has read nothing, as it says. */
  readonly awayMs?: number;
  readonly user?: string;
}

/** A client's request, as a test describes it. */
export type Wanted = string | { readonly channel: string; readonly position: Position };

/** A gateway with its node, without HTTP. */
export class GatewayNode<Way extends Transport = MemoryTransport> {
  private static readonly nodes = new Set<GatewayNode<Transport>>();
  readonly reporter = new RecordingReporter();
  readonly flusher = new Flusher();
  readonly hub: Hub;
  readonly gateway: Gateway;
  readonly transport: Way | undefined;

  private constructor(
    transport: Way | undefined,
    {
      recoveryMs = 60_000,
      recoveryBytes = 16_000_000,
      leaveMs = 5_000,
      maxBufferedBytes = 1_000_000,
      limits,
    }: GatewayNodeOptions,
  ) {
    this.transport = transport;
    const all = { ...DEFAULT_LIMITS, ...limits };
    const { reporter, flusher } = this;
    this.hub = new Hub({ reporter, transport: this.transport, limits: all });
    const queue = new WorkQueue(reporter);
    const streams = { size: 1, flusher, queue, options: { heartbeatMs: 15_000, maxBufferedBytes, retryMs: undefined } };
    this.gateway = new Gateway(
      {
        hub: this.hub,
        reporter,
        streams: streams as EventStreams,
        clients: new ClientLimits(all),
        channels: { decide: async (channel) => ruleOf(channel), faultOf: () => undefined },
        otherServerNamed: () => {},
      },
      {
        limits: all,
        timeoutMs: 1_000,
        recoveryMs,
        recoveryBytes,
        leaveMs,
        maxPendingRequests: 10,
        maxRecoveriesAtOnce: 4,
      },
    );
    GatewayNode.nodes.add(this);
  }

  /** @param at - the broker that connects it to other nodes. Without one, the node is alone */
  static start(at?: MemoryBroker, options?: GatewayNodeOptions): Promise<GatewayNode>;
  static start<Way extends Transport>(at: Way, options?: GatewayNodeOptions): Promise<GatewayNode<Way>>;
  static async start(at?: MemoryBroker | Transport, options: GatewayNodeOptions = {}): Promise<GatewayNode<Transport>> {
    const node = new GatewayNode(at instanceof MemoryBroker ? new MemoryTransport(at) : at, options);
    await node.hub.start();
    await node.gateway.start();
    return node;
  }

  /** Ends all nodes of a test. */
  static async closeAll(): Promise<void> {
    const nodes = [...this.nodes];
    this.nodes.clear();
    for (const { hub } of nodes) await hub.close();
  }

  /** The name of the channel for questions to this node. */
  get channel(): string {
    return `messaging:node/${this.hub.node}`;
  }

  /** Posts to all nodes; resolves once the broker has the message. */
  post(channel: string, message: unknown): Promise<boolean> {
    return this.hub.post(channel, message, { scope: 'auto' });
  }

  /** Opens a stream for our client, which reports when it is ready. */
  connect(wanted: readonly Wanted[], { from, awayMs, user }: Client = {}): StreamReader {
    const { session, connection } = this.reserve(user);
    const names = wanted.map(nameOf);
    return new StreamReader(session, connection, () =>
      connection.stream(
        names.map((channel) => ({ channel })),
        claimsOf(wanted),
        { form: 'client', from, awayMs },
        new Map(names.map((channel) => [channel, ruleOf(channel)])),
      ),
    );
  }

  /** Opens a stream for our client, and waits until it is ready. */
  async open(...wanted: readonly Wanted[]): Promise<StreamReader> {
    const reader = this.connect(wanted);
    await reader.ready();
    return reader;
  }

  /** Opens a stream for a native EventSource. */
  get(
    names: readonly string[],
    lastEventId?: string,
    { user, refused = [] }: Client & { refused?: readonly string[] } = {},
  ): StreamReader {
    const { session, connection } = this.reserve(user);
    const proof = lastEventId === undefined ? undefined : new NativeProof(lastEventId, names);
    const claims = proof?.claims ?? new Map();
    return new StreamReader(session, connection, () =>
      connection.stream(
        names.map((channel) => (refused.includes(channel) ? { channel, error: 'CHANNEL_DENIED' } : { channel })),
        claims,
        { form: 'native', names, proof },
      ),
    );
  }

  private reserve(user?: string) {
    const session = this.hub.sessions.open({ auth: user === undefined ? null : { userId: user } });
    return { session, connection: this.gateway.open(this.gateway.reserve(session)) };
  }
}

/** One event of a stream. */
export interface StreamEvent {
  readonly event: string | undefined;
  readonly id: string | undefined;
  readonly data: string;
}

/** Reads a stream as a client does. */
export class StreamReader {
  readonly events = new Queue<StreamEvent>();
  /** The frames sent to it, unchanged. */
  readonly frames: Frame[] = [];
  readonly raw: string[] = [];
  /** Its position in each channel. */
  readonly positions = new Map<string, Position>();
  /** The last event id, as of a native EventSource. */
  lastEventId: string | undefined;

  constructor(
    readonly session: Session,
    readonly connection: ClientConnection,
    stream: () => ReturnType<ClientConnection['stream']>,
  ) {
    const parser = createParser({ onEvent: ({ event, id, data }) => this.take({ event, id, data }) });
    stream().subscribe((sent) => {
      const frames = sent instanceof Batch ? sent.frames : [sent as Frame];
      for (const frame of frames) {
        this.frames.push(frame);
        const text = frame.bytes.toString();
        this.raw.push(text);
        for (const [, id] of text.matchAll(/^id: (.*)$/gm)) this.lastEventId = id;
        parser.feed(text);
      }
    });
  }

  /** The next event of a name; skips messages. */
  async until(event: string): Promise<unknown> {
    const { data } = await this.events.until((each) => each.event === event);
    return JSON.parse(data);
  }

  async ready(): Promise<ReadyEvent> {
    return (await this.until('messaging:ready')) as ReadyEvent;
  }

  async position(): Promise<PositionEvent> {
    return (await this.until('messaging:position')) as PositionEvent;
  }

  /** The next `count` events: messages as they are, gaps as `gap reason`, others by name. */
  async next(count: number): Promise<unknown[]> {
    return (await this.events.take(count)).map(textOf);
  }

  /** Everything received and not yet taken, in the form of {@link next}. */
  get pending(): unknown[] {
    return this.events.pending.map(textOf);
  }

  /** The positions of a client that has read everything up to now. */
  wanted(...channels: readonly string[]): Wanted[] {
    return channels.map((channel) => ({ channel, position: this.positions.get(channel)! }));
  }

  close(): void {
    this.session.close();
  }

  private take(event: StreamEvent): void {
    this.note(event);
    this.events.push(event);
  }

  private note({ event, id, data }: StreamEvent): void {
    if (event === 'messaging:ready' || event === 'messaging:position') {
      const { channels } = JSON.parse(data) as PositionEvent;
      for (const { channel, position } of channels) this.positions.set(channel, position);
    } else if (id !== undefined) {
      const { channel, template } = JSON.parse(data) as MessageFrame | GapEvent;
      const { epoch } = this.positions.get(template ?? channel) ?? { epoch: '' };
      this.positions.set(template ?? channel, { epoch, offset: Number(id) });
    }
  }
}

function textOf({ event, data }: StreamEvent): unknown {
  const parsed = JSON.parse(data) as { data?: unknown; reason?: string };
  if (event === 'messaging:gap') return `gap ${parsed.reason}`;
  return event?.startsWith('messaging:') ? event : (parsed?.data ?? parsed);
}

/** The rule by which these nodes grant a channel. */
export function ruleOf(channel: string): ChannelRule {
  return { names: [channel], scopes: [], authorizers: ['Test.decides'] };
}

function nameOf(wanted: Wanted): string {
  return typeof wanted === 'string' ? wanted : wanted.channel;
}

/** How far a client claims to have read the channels that it asks for. */
export function claimsOf(wanted: readonly Wanted[]) {
  return new Map(
    wanted.flatMap((each) => (typeof each === 'string' ? [] : [[each.channel, claimOf(each.position)] as const])),
  );
}
