import { Cut, Cuts } from '../../lib/core/cut.js';
import type { LogEntry, LogItem } from '../../lib/core/channel-log.js';
import { MemoryLogs, type MemoryLog } from '../../lib/core/memory-log.js';
import { admissionOf, merge, missedSince, type Missed } from '../../lib/core/recovery.js';
import { SerialVector } from '../../lib/core/serial-vector.js';
import { Admissions, nodeOfEpoch } from '../../lib/gateway/admission.js';
import type { GapReason, Position } from '../../lib/protocol/position.js';

// Two nodes, a broker between them and clients, as small as they can be. What decides what a client is sent is the library's:
// logs, merge, cuts and admissions. What happens when is up to whoever calls `actions()` and `do()`.

const NAME = 'news';
const SECRET = new Uint8Array(32);

/** Deliberate faults, to see that the model detects them. */
export type Fault =
  | 'no vector'
  | 'no barrier'
  | 'no cut'
  | 'no admission'
  | 'no gaps in logs'
  | 'asked before it is subscribed'
  | 'from noted with the answer'
  | 'answered before it is subscribed again'
  | 'position after the rest'
  | 'given up while posts may still come'
  | 'answer shared though the client has read further';

/** How often each outside event may happen. */
export interface Budget {
  readonly clients: number;
  /** Otherwise no client has connected yet. */
  readonly begin?: 'with all at A';
  readonly posts?: number;
  readonly localPosts?: number;
  /** By a node without clients. */
  readonly otherPosts?: number;
  /** By a part outside of this library. */
  readonly foreignPosts?: number;
  /** Streams that break, and return to any node. */
  readonly breaks?: number;
  readonly cuts?: number;
  readonly kills?: number;
  /** Logs that drop their oldest item. */
  readonly trims?: number;
  /** Clients that claim to have read nothing yet. */
  readonly lies?: number;
  /** Whether one client's missed messages also go to later clients. */
  readonly sharesAnswers?: boolean;
  readonly fault?: Fault | undefined;
}

interface Want {
  readonly client: number;
  readonly stream: number;
  readonly epoch: string;
  readonly offset: number;
  readonly joined: number;
}

type Packet =
  | { readonly kind: 'message'; readonly node: string; readonly serial: number | undefined; readonly body: string }
  | {
      readonly kind: 'question';
      readonly id: string;
      readonly to: string;
      readonly by: string;
      readonly wants: readonly Want[];
    }
  | {
      readonly kind: 'answer';
      readonly id: string;
      readonly to: string;
      readonly missed: readonly Missed<string>[];
      readonly vector: SerialVector | undefined;
      /** The end of the other node's log. */
      readonly end: number;
    }
  | { readonly kind: 'barrier'; readonly id: string; readonly to: string };

interface Pending {
  readonly id: string;
  readonly owner: string;
  readonly from: number;
  readonly wants: readonly Want[];
  readonly isBarrier: boolean;
}

/** One answer of another node, for all clients that come from there. */
interface Shared {
  readonly owner: string;
  readonly after: number;
  readonly end: number;
  readonly entries: readonly LogEntry<string>[];
  readonly cut: Cut;
}

/** A client's stream, as seen by its node. */
interface Connection {
  readonly client: number;
  readonly stream: number;
  readonly joined: number;
  readonly state: 'new' | 'recovering' | 'live';
  readonly asked: Position | undefined;
}

interface Node {
  readonly id: string;
  link: 'up' | 'partly' | 'down';
  /** How many of the published packets have arrived. */
  heard: number;
  /** The node hears packets published from here on; undefined while it is not subscribed. */
  subscribedAt: number | undefined;
  hasFeed: boolean;
  wasSubscribed: boolean;
  /** Everything given to its log, and how much of that the log has dropped. */
  items: readonly LogItem<string>[];
  forgotten: number;
  kept: readonly Parameters<Cuts['keep']>[];
  serial: number;
  questions: number;
  outbox: readonly Packet[];
  /** Questions that wait until this node is subscribed again. */
  deferred: readonly (Packet & { kind: 'question' })[];
  wants: readonly Want[];
  pending: readonly Pending[];
  shared: Shared | undefined;
  connections: readonly Connection[];
}

type Frame =
  | { readonly kind: 'entry'; readonly offset: number; readonly body: string | undefined }
  | {
      readonly kind: 'ready';
      readonly position: Position;
      readonly gap: GapReason | undefined;
      /** Earlier messages of the log, hidden from a new client. */
      readonly before: readonly string[] | undefined;
    };

interface Client {
  /** The number of its open stream. */
  stream: number;
  node: number | undefined;
  position: Position | undefined;
  /** On the way to it. */
  frames: readonly Frame[];
  /** Bodies, and `gap`. */
  got: readonly string[];
  before: readonly string[];
  /** The posts since it was first ready. */
  owed: readonly string[];
  /** It has claimed to have read less than it has, so nothing is owed to it. */
  isLiar: boolean;
}

export interface Action {
  readonly name: string;
  /** Whether it comes from outside, and may never happen. */
  readonly isOutside: boolean;
  readonly do: () => void;
}

const admissions = new Map<string, Admissions>();
const epochs = new Map<string, string>();

function admissionsOf(id: string): Admissions {
  let found = admissions.get(id);
  if (found === undefined) admissions.set(id, (found = new Admissions(id, SECRET)));
  return found;
}

function epochOf(id: string, admission: Parameters<Admissions['epoch']>[2]): string {
  const key = `${id} ${JSON.stringify(admission)}`;
  let epoch = epochs.get(key);
  if (epoch === undefined) epochs.set(key, (epoch = admissionsOf(id).epoch('', NAME, admission)));
  return epoch;
}

function nodeId(index: number, life: number): string {
  return `0000000${index}-0000-4000-8000-00000000000${life}`;
}

const logs = new Map<string, MemoryLog<string>>();

/** Logs are rebuilt from their input whenever needed, so that worlds can share them. */
function logOf({ id, items, forgotten }: Node): MemoryLog<string> {
  const key = `${id} ${forgotten} ${items.map((item) => (item.kind === 'gap' ? 'gap' : item.body)).join()}`;
  let log = logs.get(key);
  if (log === undefined) {
    const room = new MemoryLogs({ node: id, keepMs: 1e9, maxBytes: 1e9, maxLogBytes: 1e9 });
    log = room.open<string>(false, 1);
    for (const item of items) log.append(item);
    while (log.forgottenOffset < forgotten) log.forgetFirst();
    logs.set(key, log);
  }
  return log;
}

function cutsOf({ kept }: Node): Cuts {
  let made = 0;
  const cuts = new Cuts(() => ++made);
  for (const call of kept) cuts.keep(...call);
  return cuts;
}

function newNode(index: number, life: number, published: number): Node {
  return {
    id: nodeId(index, life),
    link: 'up',
    heard: published,
    subscribedAt: undefined,
    hasFeed: false,
    wasSubscribed: false,
    items: [],
    forgotten: 0,
    kept: [],
    serial: 0,
    questions: 0,
    outbox: [],
    deferred: [],
    wants: [],
    pending: [],
    shared: undefined,
    connections: [],
  };
}

export class World {
  private published: readonly Packet[] = [];
  private nodes: Node[];
  private clients: Client[];
  private lives = 0;
  private others = 0;
  private foreign = 0;
  /** How many losses may have to be reported. */
  losses = 0;
  /** Posts that the broker never accepted, and so never guaranteed. */
  private expired: readonly string[] = [];
  private left: Record<
    'posts' | 'localPosts' | 'otherPosts' | 'foreignPosts' | 'breaks' | 'cuts' | 'kills' | 'trims' | 'lies',
    number
  >;

  constructor(private readonly budget: Budget) {
    const {
      posts = 0,
      localPosts = 0,
      otherPosts = 0,
      foreignPosts = 0,
      breaks = 0,
      cuts = 0,
      kills = 0,
      trims = 0,
      lies = 0,
    } = budget;
    this.left = { posts, localPosts, otherPosts, foreignPosts, breaks, cuts, kills, trims, lies };
    this.nodes = [newNode(0, 0, 0), newNode(1, 0, 0)];
    this.clients = Array.from({ length: budget.clients }, () => ({
      stream: 0,
      node: undefined,
      position: undefined,
      frames: [],
      got: [],
      before: [],
      owed: [],
      isLiar: false,
    }));
    if (budget.begin === 'with all at A') this.beginAtA();
  }

  private beginAtA(): void {
    this.clients.forEach((_, index) => this.connect(index, 0, false));
    this.subscribed(this.nodes[0]!);
    this.clients = this.clients.map((client) => ({ ...client.frames.reduce(read, client), frames: [] }));
  }

  clone(): World {
    const other = new World(this.budget);
    other.published = this.published;
    other.lives = this.lives;
    other.others = this.others;
    other.foreign = this.foreign;
    other.losses = this.losses;
    other.expired = this.expired;
    other.left = { ...this.left };
    other.clients = this.clients.map((client) => ({ ...client }));
    other.nodes = this.nodes.map((node) => ({ ...node }));
    return other;
  }

  /** Equal for worlds with the same future. */
  get key(): string {
    const { published, nodes, clients, left, expired, losses } = this;
    return JSON.stringify([published, nodes, clients, left, expired, losses]);
  }

  actions(): Action[] {
    const actions: Action[] = [];
    const inside = (name: string, act: () => void): void =>
      void actions.push({ name, isOutside: false, do: () => (act(), this.skip()) });
    const outside = (kind: keyof World['left'], name: string, act: () => void): void => {
      if (this.left[kind] === 0) return;
      actions.push({ name, isOutside: true, do: () => (this.left[kind]--, act(), this.skip()) });
    };
    this.nodes.forEach((node, index) => {
      const who = 'AB'[index]!;
      if (node.heard < this.published.length && node.link !== 'down') inside(`${who} hears`, () => this.hear(node));
      if (node.hasFeed && node.subscribedAt === undefined && node.link === 'up') {
        inside(`${who} is subscribed`, () => this.subscribed(node));
      }
      if (node.link === 'down') inside(`${who} is heard again`, () => this.relink(node));
      if (node.link === 'partly') inside(`${who} is subscribed again`, () => this.heal(node));
      if (node.link !== 'up' && node.outbox.length > 0) inside(`${who} gives up posts`, () => this.expire(node));
      if (node.wants.length > 0 && this.mayAsk(node)) inside(`${who} asks`, () => this.ask(node));
      for (const pending of node.pending) {
        if (node.link === 'up' && this.isLost(node, pending))
          inside(`${who} has no answer`, () => this.giveUp(node, pending));
      }
      outside('posts', `${who} posts`, () => this.post(node));
      if (node.hasFeed) outside('localPosts', `${who} posts locally`, () => this.postLocally(node));
      if (node.link === 'up') outside('cuts', `${who} is cut`, () => this.cut(node));
      if (node.forgotten < node.items.length) outside('trims', `${who} forgets`, () => this.trim(node));
      const most = Math.max(...this.clients.map((client) => (client.node === index ? client.frames.length : 0)));
      for (let count = 0; count <= most; count++) {
        outside('kills', `${who} is killed, after its clients have read ${count}`, () => this.kill(index, count));
      }
    });
    outside('otherPosts', 'C posts', () => this.postElsewhere('C', ++this.others));
    outside('foreignPosts', 'a foreign part posts', () => this.postElsewhere('', undefined));
    this.clients.forEach((client, index) => {
      if (client.node === undefined) {
        for (const at of [0, 1]) {
          inside(`client ${index} comes to ${'AB'[at]!}`, () => this.connect(index, at, false));
          if (client.position !== undefined) {
            outside('lies', `client ${index} lies to ${'AB'[at]!}`, () => this.connect(index, at, true));
          }
        }
      } else {
        // Nothing depends on a client's reading before it returns, so it suffices to choose then how much it has read.
        for (let count = 0; count <= client.frames.length; count++) {
          outside('breaks', `client ${index} reads ${count} of ${client.frames.length}, and its stream breaks`, () =>
            this.break(client, count),
          );
        }
      }
    });
    return actions;
  }

  /** An error in the clients' messages, if there is one. */
  wrong(): string | undefined {
    const isQuiet = this.actions().every(({ isOutside }) => isOutside);
    for (const [index, client] of this.clients.entries()) {
      const all = client.frames.reduce(read, client);
      const fault = this.wrongWith(all, isQuiet);
      if (fault !== undefined) return `client ${index} ${fault}; it has got ${all.got.join(', ') || 'nothing'}`;
    }
    return undefined;
  }

  private wrongWith({ got, before, owed, isLiar }: Client, isDone: boolean): string | undefined {
    const messages = got.filter((body) => body !== 'gap');
    const early = messages.find((body) => before.includes(body));
    if (early !== undefined) return `has got ${early}, from before it was let in`;
    if (isLiar) return undefined;
    if (new Set(messages).size < messages.length) return 'has got a message twice';
    const gaps = got.length - messages.length;
    if (gaps > this.losses) return `has been told of ${gaps} losses, and there were ${this.losses}`;
    const last = new Map<string, number>();
    for (const body of messages) {
      const [poster, serial] = body.split('.') as [string, string];
      if (Number(serial) < (last.get(poster) ?? 0)) return `has got ${body} out of order`;
      last.set(poster, Number(serial));
    }
    for (const body of owed) {
      if (got.includes(body) || this.expired.includes(body)) continue;
      const [poster, serial] = body.split('.') as [string, string];
      const isOf = (other: string): boolean => other.startsWith(`${poster}.`);
      const next = got.findIndex((other) => isOf(other) && Number(other.split('.')[1]) > Number(serial));
      if (next < 0 && !isDone) continue;
      const upTo = next < 0 ? got : got.slice(0, next);
      const previous = upTo.findLastIndex((other) => isOf(other) && Number(other.split('.')[1]) < Number(serial));
      if (!upTo.slice(previous + 1).includes('gap')) return `has not got ${body}, and has not been told`;
    }
    return undefined;
  }

  // Events from outside.

  private post(node: Node): void {
    const serial = ++node.serial;
    const body = `${label(node.id)}.${serial}`;
    this.owe(body);
    const packet: Packet = { kind: 'message', node: node.id, serial, body };
    if (node.hasFeed) this.append(node, packet);
    this.publish(node, packet);
  }

  private postLocally(node: Node): void {
    const serial = ++node.serial;
    const body = `local@${label(node.id)}.${serial}`;
    for (const client of this.clients) {
      if (client.position !== undefined && nodeOfEpoch(client.position.epoch) === node.id && this.isAt(client, node)) {
        client.owed = [...client.owed, body];
      }
    }
    this.append(node, { kind: 'message', node: node.id, serial: undefined, body });
  }

  private postElsewhere(node: string, serial: number | undefined): void {
    const body = serial === undefined ? `foreign.${++this.foreign}` : `C0.${serial}`;
    // A client that moves may see a gap for it although it was not lost, because nodes cannot compare it.
    if (serial === undefined) this.losses += 1 + this.left.breaks;
    this.owe(body);
    this.published = [...this.published, { kind: 'message', node, serial, body }];
  }

  private cut(node: Node): void {
    this.losses++;
    node.link = 'down';
    node.heard = this.published.length;
    node.subscribedAt = undefined;
  }

  private kill(index: number, count: number): void {
    const node = this.nodes[index]!;
    this.losses++;
    this.expire(node);
    for (const client of this.clients) if (client.node === index) this.break(client, count);
    this.nodes[index] = newNode(index, ++this.lives, this.published.length);
  }

  private trim(node: Node): void {
    this.losses++;
    node.forgotten++;
  }

  private break(client: Client, count: number): void {
    const node = this.nodes[client.node!]!;
    node.connections = node.connections.filter((other) => this.clients[other.client] !== client);
    Object.assign(client, client.frames.slice(0, count).reduce(read, client), { node: undefined, frames: [] });
    // It was never subscribed, from its own point of view.
    if (client.position === undefined) client.owed = [];
  }

  // Nodes.

  private append(node: Node, item: Packet & { kind: 'message' }): void {
    const { serial, body } = item;
    this.appendItem(node, { kind: 'message', channel: NAME, node: item.node, serial, body, bytes: 1 });
  }

  private appendItem(node: Node, item: LogItem<string>): void {
    node.items = [...node.items, item];
    const entry = { offset: node.items.length, item };
    for (const { state, client } of node.connections) if (state === 'live') this.send(client, [entry]);
  }

  private send(index: number, entries: readonly LogEntry<string>[], ...frames: Frame[]): void {
    const client = this.clients[index]!;
    client.frames = [...client.frames, ...entries.map(frameOf), ...frames];
  }

  private publish(node: Node, packet: Packet): void {
    if (node.link === 'up') this.published = [...this.published, packet];
    else node.outbox = [...node.outbox, packet];
  }

  private expire(node: Node): void {
    const bodies = node.outbox.flatMap((packet) => (packet.kind === 'message' ? [packet.body] : []));
    this.expired = [...this.expired, ...bodies];
    node.outbox = [];
  }

  /** Skips packets without meaning for a node, and forgets packets that all have heard: fewer worlds, and no others. */
  private skip(): void {
    for (const node of this.nodes) {
      if (node.link === 'down') node.heard = this.published.length;
      while (node.heard < this.published.length && !this.means(this.published[node.heard]!, node, node.heard))
        node.heard++;
      if (node.wants.length > 0 && this.budget.clients === 1 && this.mayAsk(node)) this.ask(node);
    }
    const past = Math.min(...this.nodes.map(({ heard }) => heard));
    if (past === 0) return;
    this.published = this.published.slice(past);
    for (const node of this.nodes) {
      node.heard -= past;
      if (node.subscribedAt !== undefined) node.subscribedAt = Math.max(0, node.subscribedAt - past);
    }
  }

  private means(packet: Packet, node: Node, index: number): boolean {
    if (packet.kind !== 'message') return packet.to === node.id;
    return packet.node !== node.id && node.subscribedAt !== undefined && index >= node.subscribedAt;
  }

  private mayAsk(node: Node): boolean {
    return node.subscribedAt !== undefined || this.budget.fault === 'asked before it is subscribed';
  }

  private hear(node: Node): void {
    const index = node.heard++;
    const packet = this.published[index]!;
    if (packet.kind === 'message') {
      if (packet.node !== node.id && node.subscribedAt !== undefined && index >= node.subscribedAt)
        this.append(node, packet);
    } else if (packet.to === node.id) {
      if (packet.kind === 'question') this.hearQuestion(node, packet);
      else this.hearAnswer(node, packet);
    }
  }

  private hearQuestion(node: Node, packet: Packet & { kind: 'question' }): void {
    const isSubscribed = !node.hasFeed || node.subscribedAt !== undefined;
    if (isSubscribed || this.budget.fault === 'answered before it is subscribed again') this.answer(node, packet);
    else node.deferred = [...node.deferred, packet];
  }

  private answer(node: Node, { id, by, wants }: Packet & { kind: 'question' }): void {
    const missed = wants.map(({ epoch, offset }) => this.missed(node, epoch, offset));
    this.publish(node, { kind: 'answer', id, to: by, missed, vector: logOf(node).vector(), end: node.items.length });
  }

  private missed(node: Node, epoch: string, offset: number): Missed<string> {
    let admission = admissionsOf(node.id).read('', NAME, epoch);
    if (admission && this.budget.fault === 'no admission') admission = { ...admission, admitted: 0 };
    return missedSince(logOf(node), cutsOf(node), admission, offset, {});
  }

  private hearAnswer(node: Node, packet: Packet & { kind: 'answer' | 'barrier' }): void {
    const pending = node.pending.find(({ id }) => id === packet.id);
    if (pending === undefined) return;
    node.pending = node.pending.filter((other) => other !== pending);
    if (packet.kind === 'barrier') {
      this.settle(node, pending, () => ({ found: false, reason: 'node' }), undefined, undefined);
    } else {
      const vector = this.budget.fault === 'no vector' ? new SerialVector(false) : packet.vector;
      this.settle(node, pending, (index) => packet.missed[index]!, vector, packet.end);
    }
  }

  private settle(
    node: Node,
    pending: Pending,
    missedOf: (index: number) => Missed<string>,
    vector: SerialVector | undefined,
    end: number | undefined,
  ): void {
    const log = logOf(node);
    const { id } = node;
    const { fault } = this.budget;
    const from = fault === 'from noted with the answer' ? log.lastOffset : pending.from;
    const own = new Cut(id, from, log.lastOffset, vector);
    pending.wants.forEach((want, index) => {
      const { client, stream, joined } = want;
      if (!this.setLive(node, client, stream)) return;
      const { missed, cut } = this.share(node, pending, want, missedOf(index), own, end);
      const here = log.read({ epoch: log.epoch, offset: cut.from });
      const merged = merge(missed, cut, here, joined);
      const used = fault === 'no cut' ? { ...merged, isCut: false } : merged;
      const offset = fault === 'position after the rest' ? log.lastOffset : merged.offset;
      const epoch = epochOf(id, admissionOf(used, cut, joined, log, cutsOf(node)));
      if (used.isCut) node.kept = [...node.kept, [cut, joined, log.forgottenOffset]];
      this.send(client, merged.missed, {
        kind: 'ready',
        position: { epoch, offset },
        gap: merged.gap,
        before: undefined,
      });
      this.send(client, merged.rest);
    });
  }

  /** A client's missed messages, from an earlier answer to another client if that suffices, else from its own. */
  private share(
    node: Node,
    { owner }: Pending,
    { epoch, offset, joined }: Want,
    missed: Missed<string>,
    cut: Cut,
    end: number | undefined,
  ): { missed: Missed<string>; cut: Cut } {
    if (this.budget.sharesAnswers !== true || !missed.found || end === undefined || epoch.includes('-', 37)) {
      return { missed, cut };
    }
    const { shared } = node;
    const isOf = shared?.owner === owner && shared.after <= offset && shared.cut.from <= joined;
    if (isOf && (offset <= shared.end || this.budget.fault === 'answer shared though the client has read further')) {
      const entries = shared.entries.filter((entry) => entry.offset > offset);
      return { missed: { found: true, entries }, cut: shared.cut };
    }
    node.shared = { owner, after: offset, end, entries: missed.entries, cut };
    return { missed, cut };
  }

  private setLive(node: Node, client: number, stream: number): boolean {
    const found = node.connections.find((connection) => connection.client === client && connection.stream === stream);
    node.connections = node.connections.map((other) => (other === found ? { ...other, state: 'live' } : other));
    return found !== undefined;
  }

  private subscribed(node: Node): void {
    node.subscribedAt = this.published.length;
    node.wasSubscribed = true;
    this.begin(node);
  }

  /** Lets in the clients that have waited for the node's subscription. */
  private begin(node: Node): void {
    for (const { client, stream, state, asked } of node.connections) {
      if (state !== 'new') continue;
      const log = logOf(node);
      const { id } = node;
      if (asked === undefined) {
        const position = { epoch: epochOf(id, { log: log.number, admitted: log.lastOffset }), offset: log.lastOffset };
        this.send(client, [], { kind: 'ready', position, gap: undefined, before: bodiesOf(node) });
      } else {
        const missed = this.missed(node, asked.epoch, asked.offset);
        const position = missed.found
          ? { epoch: asked.epoch, offset: log.lastOffset }
          : { epoch: epochOf(id, { log: log.number, admitted: log.lastOffset }), offset: log.lastOffset };
        const gap = missed.found ? undefined : missed.reason;
        this.send(client, missed.found ? missed.entries : [], { kind: 'ready', position, gap, before: undefined });
      }
      this.setLive(node, client, stream);
    }
  }

  private relink(node: Node): void {
    node.link = 'partly';
    node.heard = this.published.length;
  }

  private heal(node: Node): void {
    node.link = 'up';
    if (node.wasSubscribed && this.budget.fault !== 'no gaps in logs') {
      this.appendItem(node, { kind: 'gap', reason: 'broker' });
    }
    if (node.hasFeed) this.subscribed(node);
    const { outbox, deferred } = node;
    node.outbox = [];
    node.deferred = [];
    for (const packet of outbox) this.publish(node, packet);
    for (const question of deferred) this.answer(node, question);
  }

  private ask(node: Node): void {
    const owner = nodeOfEpoch(node.wants[0]!.epoch)!;
    const wants = node.wants.filter(({ epoch }) => nodeOfEpoch(epoch) === owner);
    node.wants = node.wants.filter((want) => !wants.includes(want));
    const id = `${label(node.id)}?${++node.questions}`;
    node.pending = [...node.pending, { id, owner, from: node.items.length, wants, isBarrier: false }];
    this.publish(node, { kind: 'question', id, to: owner, by: node.id, wants });
  }

  /** Whether no answer can arrive any more, or none before everything that waits at the other node has arrived or expired. */
  private isLost(node: Node, { id, owner, isBarrier }: Pending): boolean {
    const isOnItsWay = (packet: Packet): boolean => packet.kind !== 'message' && packet.id === id;
    if (
      node.outbox.some(isOnItsWay) ||
      this.published.slice(node.heard).some((p) => isOnItsWay(p) && p.kind !== 'question')
    ) {
      return false;
    }
    if (isBarrier) return true;
    const other = this.nodes.find((each) => each.id === owner);
    if (other === undefined) return true;
    if (other.link !== 'up') {
      return (
        this.budget.fault === 'given up while posts may still come' || !other.outbox.some((p) => p.kind === 'message')
      );
    }
    return !this.published.slice(other.heard).some(isOnItsWay) && !other.outbox.some(isOnItsWay);
  }

  private giveUp(node: Node, pending: Pending): void {
    node.pending = node.pending.filter((other) => other !== pending);
    if (this.budget.fault === 'no barrier') {
      return this.settle(node, pending, () => ({ found: false, reason: 'node' }), undefined, undefined);
    }
    const id = `${label(node.id)}?${++node.questions}`;
    node.pending = [...node.pending, { ...pending, id, isBarrier: true }];
    this.publish(node, { kind: 'barrier', id, to: node.id });
  }

  // Clients.

  private owe(body: string): void {
    for (const client of this.clients) {
      if (client.position !== undefined || client.frames.length > 0) client.owed = [...client.owed, body];
    }
  }

  private isAt({ node }: Client, at: Node): boolean {
    return node !== undefined && this.nodes[node] === at;
  }

  private connect(index: number, at: number, isLying: boolean): void {
    const client = this.clients[index]!;
    const node = this.nodes[at]!;
    client.stream++;
    client.node = at;
    const { stream, position } = client;
    const asked = position && { ...position, offset: isLying ? 0 : position.offset };
    const joined = node.items.length;
    const isElsewhere = asked !== undefined && nodeOfEpoch(asked.epoch) !== node.id;
    const state = isElsewhere ? 'recovering' : 'new';
    node.connections = [...node.connections, { client: index, stream, joined, state, asked }];
    if (isElsewhere) node.wants = [...node.wants, { client: index, stream, ...asked, joined }];
    node.hasFeed = true;
    if (node.subscribedAt !== undefined) this.begin(node);
    if (isLying) client.isLiar = true;
  }
}

/** The client after one more frame. */
function read(client: Client, frame: Frame): Client {
  const { got } = client;
  if (frame.kind === 'entry') {
    return { ...client, got: [...got, frame.body ?? 'gap'], position: { ...client.position!, offset: frame.offset } };
  }
  const { position, gap, before = client.before } = frame;
  return { ...client, got: gap === undefined ? got : [...got, 'gap'], position, before };
}

function label(id: string): string {
  return `${'AB'[Number(id[7])]!}${id.at(-1)!}`;
}

function frameOf({ offset, item }: LogEntry<string>): Frame {
  return { kind: 'entry', offset, body: item.kind === 'gap' ? undefined : item.body };
}

function bodiesOf({ items }: Node): string[] {
  return items.flatMap((item) => (item.kind === 'message' ? [item.body] : []));
}
