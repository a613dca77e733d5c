import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FaultNodeNote, FaultNodeRun } from './fault-node.js';
import type { FaultProcess } from './fault-process.js';
import { ClientReader, NativeReader, type FaultReader } from './fault-readers.js';
import type { RunReport } from './fault-report.js';
import { partOf, type Fault, type Schedule } from './fault-schedule.js';
import { Ledger, ReaderLog, type Finding } from './ledger.js';
import { machineClock as clock } from './machine-clock.js';
import { randomFrom } from './random.js';
import type { RedisServer } from './redis-server.js';
import { TcpProxy } from './tcp-proxy.js';

/** How a schedule is run. */
export interface RunOptions {
  /** What is posted: how often by each node, by the last part of the channel's name. */
  readonly everyMs?: Readonly<Record<string, number>>;
  /** What our clients subscribe to, one after another, and native ones; `*`: all, by the template. */
  readonly clients?: readonly (readonly string[])[];
  readonly natives?: readonly (readonly string[])[];
  readonly isDeafToGaps?: boolean;
  /** Whether clients are told when their network is back, as browsers tell pages. */
  readonly isNetworkKnown?: boolean;
}

/** A place for a node: its process may be another one later. */
export interface Slot {
  readonly index: number;
  /** Its way to Redis. */
  readonly link: TcpProxy;
  process: FaultProcess;
  incarnation: number;
  /** Whether clients are sent there. */
  isUp: boolean;
}

/** What a run needs of the world that it is in. */
export interface RunWorld {
  readonly redis: RedisServer;
  readonly slots: readonly Slot[];
  startProcess(slot: Slot): Promise<void>;
}

const DEFAULT_RUN = {
  everyMs: { busy: 25, calm: 150, quiet: 900 },
  clients: [['busy', 'calm'], ['*', 'calm'], ['busy', 'calm', 'quiet'], ['quiet']],
  natives: [['busy'], ['busy', 'calm', 'quiet'], ['*']],
} satisfies RunOptions;

/** A deaf subscriber is found within 5 s; what is shorter than this is not even suspected. */
const SUSPECTED_AFTER_MS = 3_500;
/** How long a server that leaves answers at least for its clients that have not come back. */
const LEAVES_AFTER_MS = 4_000;
/** How long after a fault it may be told. */
const TOLD_WITHIN_MS = 30_000;
const ABSENT_AFTER_MS = 35_000;
const ARRIVES_WITHIN_MS = 5_000;
const LEAVES_WITHIN_MS = 20_000;
const OPENED_AT_ONCE = 200;
const WATCH_EVERY_MS = 50;

/** A fault as it was. */
export interface Inflicted {
  readonly fault: Fault;
  readonly fromMs: number;
  readonly untilMs: number;
}

/** Where a reader was sent. */
interface Visit {
  readonly slot: number;
  readonly atMs: number;
}

/** One schedule on its way. */
export class Run {
  private readonly ledger = new Ledger();
  private readonly slots: readonly Slot[];
  private readonly options: RunOptions & Required<Pick<RunOptions, 'everyMs' | 'clients' | 'natives'>>;
  private readonly nodeLogs = new Map<string, ReaderLog>();
  private readonly readers: FaultReader[] = [];
  private readonly lines: TcpProxy[] = [];
  private readonly visits: Visit[][] = [];
  private readonly findings: Finding[] = [];
  /** What has been done, and when. */
  readonly inflicted: Inflicted[] = [];
  /** When the network of a client was back, and since when it was not there. */
  private readonly absences: { readonly client: number; readonly fromMs: number; readonly untilMs: number }[] = [];
  private readonly node: FaultNodeRun;
  private startMs = 0;
  private stallMs = 0;

  constructor(
    private readonly world: RunWorld,
    private readonly schedule: Schedule,
    options: RunOptions,
    /** What a run before has done in this world: servers may find out only now. */
    private readonly before: readonly Inflicted[],
  ) {
    this.slots = world.slots;
    this.options = { ...DEFAULT_RUN, ...options };
    this.node = { run: `${schedule.seed}-${Math.round(clock())}`, everyMs: this.options.everyMs };
  }

  async go(): Promise<RunReport> {
    let lastMs = clock();
    const watch = setInterval(() => {
      const now = clock();
      this.stallMs = Math.max(this.stallMs, now - lastMs - WATCH_EVERY_MS);
      lastMs = now;
    }, WATCH_EVERY_MS);
    try {
      await this.each(({ process }) => process.do({ task: 'listen', run: this.node }));
      await this.openReaders();
      await this.each(({ process }) => process.do({ task: 'post', run: this.node }));
      this.startMs = this.ledger.startMs = clock();
      await Promise.all(
        this.schedule.faults.map(async (fault) => {
          await sleep(fault.atMs - (clock() - this.startMs));
          await this.inflict(fault);
        }),
      );
      await this.settle();
    } finally {
      clearInterval(watch);
      this.readers.forEach((reader) => reader.close());
      await this.each(({ process }) => process.do({ task: 'end' }));
      await Promise.all(this.lines.map((line) => line[Symbol.asyncDispose]()));
    }
    // Only now it is known where clients went since.
    for (const { fault, fromMs, untilMs } of [...this.before, ...this.inflicted]) this.explain(fault, fromMs, untilMs);
    const { findings, counts } = this.ledger.check();
    const openings = this.readers.flatMap(({ openedAtMs }) => openedAtMs.slice(1).map((atMs) => atMs - this.startMs));
    return {
      seed: this.schedule.seed,
      findings: [...this.findings, ...findings],
      counts,
      returnsMs: this.returnsMs(),
      openingsMs: openings.toSorted((a, b) => a - b),
      stallMs: this.stallMs,
      ways: this.waysOf(findings),
    };
  }

  note(poster: string, note: FaultNodeNote): void {
    if (note[0] === 'posted') {
      const [, channel, n, atMs, isAccepted] = note;
      if (isAccepted && this.isOwn(channel)) this.ledger.accepted(poster, channel, n, atMs);
      return;
    }
    const [, name] = note;
    const reader = `node ${poster}`;
    if (note[0] === 'ready') {
      const [subscribed] = name.split(' ');
      const hears = name.includes(':') ? () => true : (channel: string) => channel === subscribed;
      this.nodeLogs.set(`${reader} ${name}`, this.ledger.add(new ReaderLog(reader, name, hears, note[2])));
    }
    const log = this.nodeLogs.get(`${reader} ${name}`);
    if (note[0] === 'message') log?.message(note[2], note[3], note[4], clock());
    if (note[0] === 'gap' && !this.options.isDeafToGaps) log?.gap(note[2], note[3]);
  }

  private isOwn(channel: string): boolean {
    return channel.startsWith(`faults/${this.node.run}/`);
  }

  private each(act: (slot: Slot) => Promise<unknown>): Promise<unknown> {
    return Promise.all(this.slots.map(act));
  }

  private async openReaders(): Promise<void> {
    const { clients, natives, isDeafToGaps = false } = this.options;
    const random = randomFrom(this.schedule.seed);
    const open = async (client: number, names: readonly string[], kind: 'client' | 'native'): Promise<void> => {
      const visits: Visit[] = (this.visits[client] = []);
      const line = (this.lines[client] = await TcpProxy.start(() => {
        const up = this.slots.filter(({ isUp }) => isUp);
        if (up.length === 0) return undefined;
        const slot = up[random(up.length)]!;
        visits.push({ slot: slot.index, atMs: clock() });
        return slot.process.port;
      }));
      const id = `${kind} ${client}`;
      const settings = { id, line, ledger: this.ledger, run: this.node.run, names, isDeafToGaps };
      this.readers[client] = await (kind === 'client' ? ClientReader : NativeReader).open(settings);
    };
    const openings = [
      ...clients.map((names, index) => () => open(index, names, 'client')),
      ...natives.map((names, index) => () => open(clients.length + index, names, 'native')),
    ];
    while (openings.length > 0) await Promise.all(openings.splice(0, OPENED_AT_ONCE).map((start) => start()));
  }

  private async inflict(fault: Fault): Promise<void> {
    const fromMs = clock();
    const part = partOf(fault.kind);
    if (part === 'redis') await this.inflictOnRedis(fault);
    else if (part === 'client') await this.inflictOnClient(fault);
    else {
      const slots = fault.target === -1 ? this.slots : [this.slots[fault.target % this.slots.length]!];
      await Promise.all(slots.map((slot) => (part === 'link' ? this.inflictOnLink : this.inflictOnNode)(fault, slot)));
    }
    this.inflicted.push({ fault, fromMs, untilMs: clock() });
  }

  private async inflictOnRedis({ kind, forMs }: Fault): Promise<void> {
    const { redis } = this.world;
    if (kind === 'redis-kill-pubsub') return killPubSub(redis.port);
    if (kind === 'redis-pause') redis.pause();
    else await (kind === 'redis-kill' ? redis.kill() : redis.stop());
    await sleep(forMs);
    if (kind === 'redis-pause') redis.resume();
    else await redis.restart();
  }

  private readonly inflictOnLink = async (fault: Fault, { link }: Slot): Promise<void> => {
    const { kind, forMs, way, connection } = fault;
    if (kind === 'link-delay') await delay(link, forMs);
    else if (kind === 'link-cut') {
      if (connection === undefined) link.mode = 'refuse';
      link.cut(connection);
      await sleep(connection === undefined ? forMs : 0);
      link.mode = 'pass';
    } else {
      // What is silent stays so: the server has to find it.
      link.mute(way, connection);
      if (connection === undefined && way === 'both') link.mode = 'swallow';
      await sleep(forMs);
      link.mode = 'pass';
    }
  };

  private readonly inflictOnNode = async (fault: Fault, slot: Slot): Promise<void> => {
    const { process } = slot;
    slot.isUp = false;
    if (fault.kind === 'node-pause') {
      process.pause();
      await sleep(fault.forMs);
      process.resume();
      slot.isUp = true;
      return;
    }
    if (fault.kind === 'node-kill') await process.kill();
    else await this.leave(process);
    for (const log of this.ledger.logs) if (log.reader === `node ${process.name}`) log.hasEnded = true;
    await sleep(fault.forMs);
    await this.world.startProcess(slot);
    await slot.process.do({ task: 'listen', run: this.node });
    await slot.process.do({ task: 'post', run: this.node });
    slot.isUp = true;
  };

  private async leave(process: FaultProcess): Promise<void> {
    const late = new AbortController();
    const timer = sleep(LEAVES_WITHIN_MS, undefined, { signal: late.signal }).then(
      () => process.kill().then(() => this.find('absent', process.name, '', 'has not left within 20 s')),
      () => {},
    );
    await process.leave();
    late.abort();
    await timer;
  }

  private async inflictOnClient({ kind, forMs, target }: Fault): Promise<void> {
    const client = target % this.lines.length;
    const line = this.lines[client]!;
    const fromMs = clock();
    if (kind === 'client-delay') return delay(line, forMs);
    if (kind === 'client-half-open') {
      line.mute('down');
      await sleep(forMs);
      // Nothing tells a native EventSource but the network.
      if (this.readers[client] instanceof NativeReader) line.cut();
      return;
    }
    line.mode = 'refuse';
    if (kind === 'client-leave') line.orphan();
    else line.cut();
    await sleep(forMs);
    line.mode = 'pass';
    if (this.options.isNetworkKnown) this.readers[client]!.networkIsBack();
    this.absences.push({ client, fromMs, untilMs: clock() });
  }

  /** Notes whom a fault may have lost messages. Restarts in order, and what clients suffer, lose nothing. */
  private explain({ kind, target }: Fault, fromMs: number, untilMs: number): void {
    const forMs = untilMs - fromMs;
    const part = partOf(kind);
    if (part === 'client' || kind === 'link-delay') return;
    if (kind === 'redis-pause' && forMs < SUSPECTED_AFTER_MS) return;
    const until = untilMs + TOLD_WITHIN_MS;
    const isHit = (slot: number): boolean => part === 'redis' || target === -1 || target === slot;
    for (const log of this.ledger.logs) {
      const [, slot] = /^node (\d)/.exec(log.reader) ?? [];
      if (slot === undefined) continue;
      const isDeaf = part !== 'node' || (kind === 'node-pause' && forMs >= SUSPECTED_AFTER_MS);
      if (isDeaf && isHit(Number(slot))) log.causes.push({ fromMs, untilMs: until, times: 1 });
    }
    for (const [client, reader] of this.readers.entries()) {
      const visits = this.visits[client]!;
      const before = visits.filter(({ atMs }) => atMs < fromMs);
      const since = visits.filter(({ atMs }) => atMs >= fromMs && atMs <= until);
      const openings = reader.openedAtMs.filter((atMs) => atMs >= fromMs && atMs <= until);
      if (kind === 'node-restart') {
        if (!before.slice(-1).some(({ slot }) => isHit(slot))) continue;
        // A server that leaves waits for the clients that it has then, for a while.
        const isLate = !since.some(({ atMs }) => atMs < fromMs + LEAVES_AFTER_MS);
        if (!isLate && !this.isAway(client, fromMs)) continue;
      } else if (
        part === 'node' &&
        ![...before.slice(-1), ...before.filter(({ atMs }) => atMs > fromMs - 10_000)].some(({ slot }) => isHit(slot))
      ) {
        continue;
      }
      // What it could not be sent of the past where it came to, each time, and what was lost while it was there.
      for (const log of reader.logs.values()) log.causes.push({ fromMs, untilMs: until, times: 1 + openings.length });
    }
  }

  /** Whether the network of a client had failed, and the client was not back yet. */
  private isAway(client: number, atMs: number): boolean {
    const openings = this.readers[client]!.openedAtMs;
    return this.inflicted.some(
      ({ fault: { kind, target }, fromMs }) =>
        /^client-(cut|leave|half-open)$/.test(kind) &&
        target % this.lines.length === client &&
        fromMs <= atMs &&
        !openings.some((openedAt) => openedAt > fromMs && openedAt < atMs),
    );
  }

  /** Waits until everybody reads again, then until all has come; whoever does not is found absent. */
  private async settle(): Promise<void> {
    const healed = new Map(this.posters().map((poster) => [poster, this.latest(poster)]));
    const absent = await this.lateAfter(ABSENT_AFTER_MS, (log, poster, channel) => {
      const before = healed.get(poster)?.get(channel) ?? 0;
      return log.last(poster, channel) > before;
    });
    for (const [{ reader, name }, missed] of absent) {
      const state = this.readers.find(({ id }) => id === reader)?.state ?? 'listens';
      this.find('absent', reader, name, `hears nothing of ${missed} any more; ${state}`);
    }
    await this.each(({ process }) => process.do({ task: 'quiet' }));
    await this.lateAfter(
      ARRIVES_WITHIN_MS,
      (log, poster, channel) => log.last(poster, channel) >= this.ledger.last(poster, channel),
    );
  }

  private waysOf(findings: readonly Finding[]): string[] {
    const found = new Set(findings.map(({ reader }) => reader));
    return this.readers.flatMap(({ id, openedAtMs }, client) => {
      const visits = this.visits[client]!.map(({ slot, atMs }) => `${slot} at ${Math.round(atMs - this.startMs)} ms`);
      const openings = openedAtMs.map((atMs) => `${Math.round(atMs - this.startMs)} ms`);
      return found.has(id) ? [`${id} was sent to ${visits.join(', ')}; open at ${openings.join(', ')}`] : [];
    });
  }

  private posters(): string[] {
    return this.slots.map(({ process }) => process.name);
  }

  private latest(poster: string): Map<string, number> {
    return new Map(this.channels().map((channel) => [channel, this.ledger.last(poster, channel)]));
  }

  private channels(): string[] {
    return Object.keys(this.options.everyMs).map((name) => `faults/${this.node.run}/${name}`);
  }

  /** Waits until something holds for all who listen; else gives those for whom it does not, each with a poster and a channel. */
  private async lateAfter(
    ms: number,
    holds: (log: ReaderLog, poster: string, channel: string) => boolean,
  ): Promise<(readonly [log: ReaderLog, missed: string])[]> {
    const end = clock() + ms;
    const lateOf = (log: ReaderLog): string | undefined => {
      if (log.hasEnded) return undefined;
      for (const channel of this.channels().filter(log.hears))
        for (const poster of this.posters()) if (!holds(log, poster, channel)) return `${poster} ${channel}`;
      return undefined;
    };
    let late = this.ledger.logs.filter((log) => lateOf(log) !== undefined);
    while (late.length > 0 && clock() < end) {
      await sleep(50);
      late = late.filter((log) => lateOf(log) !== undefined);
    }
    return late.map((log) => [log, lateOf(log)!] as const);
  }

  private find(kind: Finding['kind'], reader: string, name: string, what: string): void {
    this.findings.push({ kind, reader, name, what });
  }

  private returnsMs(): number[] {
    return this.absences.flatMap(({ client, fromMs, untilMs }) => {
      const opened = this.readers[client]!.openedAtMs.find((atMs) => atMs > fromMs);
      return opened === undefined ? [] : [Math.max(0, opened - untilMs)];
    });
  }
}

/** Makes a line slow for a while. */
async function delay(line: TcpProxy, forMs: number): Promise<void> {
  line.delayMs = 20 + (forMs % 280);
  await sleep(forMs);
  line.delayMs = 0;
}

/** By hand, since the connection must not be one that is killed. */
async function killPubSub(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  socket.write('CLIENT KILL TYPE pubsub\r\n');
  await once(socket, 'data');
  socket.destroy();
}
