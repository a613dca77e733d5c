import { setTimeout as sleep } from 'node:timers/promises';
import type { Position } from 'nestjs-messaging';
import { delay, inflictOnLink } from './fault-acts.js';
import { explain, type Inflicted, type Scene, type Visit } from './fault-causes.js';
import { channelOf, hearsOf, keepsHistory, keptOf, RESUMED } from './fault-channels.js';
import type { FaultNodeNote, FaultNodeRun } from './fault-node.js';
import type { FaultProcess } from './fault-process.js';
import { ClientReader, NativeReader, type AnyLog, type FaultReader } from './fault-readers.js';
import type { ClientReturn, RunReport } from './fault-report.js';
import { isWipe, partOf, type Fault, type Schedule } from './fault-schedule.js';
import { HistoryLedger, HistoryLog } from './history-ledger.js';
import { Ledger, ReaderLog, type Finding } from './ledger.js';
import { machineClock as clock } from './machine-clock.js';
import { randomFrom } from './random.js';
import { TcpProxy } from '../../lib/testing/tcp-proxy.js';

/** How a schedule is run. */
export interface RunOptions {
  /** What is posted: how often by each node, by the names of `channelOf`. */
  readonly everyMs?: Readonly<Record<string, number>>;
  /** What our clients subscribe to, one after another, native ones, and those of `@Sse()` handlers of the same names. */
  readonly clients?: readonly (readonly string[])[];
  readonly natives?: readonly (readonly string[])[];
  readonly streams?: readonly string[];
  /** Which of our clients are pages that are loaded anew once; they read channels with history. */
  readonly reloads?: readonly number[];
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
  /** Settles when the last fault of the process is over: the next one waits for it, since a leave takes as long as it takes. */
  free: Promise<void>;
}

/** What a run needs of the world that it is in. */
export interface RunWorld {
  /** Resolves when it is over. */
  inflictOnRedis(fault: Fault): Promise<void>;
  readonly slots: readonly Slot[];
  /** Whether a run before has wiped histories. */
  readonly wasWiped: boolean;
  startProcess(slot: Slot): Promise<void>;
}

const DEFAULT_RUN = {
  everyMs: { busy: 40, calm: 150, quiet: 900, kept: 50, 'kept/calm': 200, brief: 60 },
  clients: [
    ['busy', 'calm', 'kept'],
    ['*', 'kept/*', 'calm'],
    ['busy', 'calm', 'quiet', 'kept', 'kept/calm', 'brief'],
    ['kept', 'brief'],
  ],
  natives: [['busy'], ['busy', 'calm', 'quiet', 'kept', 'brief'], ['*', 'kept/*'], ['kept']],
  streams: ['kept'],
  reloads: [3],
} satisfies RunOptions;

const ABSENT_AFTER_MS = 35_000;
const ARRIVES_WITHIN_MS = 5_000;
const LEAVES_WITHIN_MS = 20_000;
const OPENED_AT_ONCE = 200;
const WATCH_EVERY_MS = 50;
const RELOADED_WITHIN_MS = 5_000;
/** Not the numbers by which clients find their servers. */
const RELOAD_SALT = 1_000_003;

/** One schedule on its way. */
export class Run implements Scene {
  readonly ledger = new Ledger();
  private readonly histories = new HistoryLedger(keptOf);
  private readonly slots: readonly Slot[];
  private readonly options: RunOptions &
    Required<Pick<RunOptions, 'everyMs' | 'clients' | 'natives' | 'streams' | 'reloads'>>;
  private readonly nodeLogs = new Map<string, AnyLog>();
  readonly readers: FaultReader[] = [];
  private readonly lines: TcpProxy[] = [];
  readonly visits: Visit[][] = [];
  private readonly findings: Finding[] = [];
  /** What has been done, and when. */
  readonly inflicted: Inflicted[] = [];
  /** When the network of a client was back, and since when it was not there. */
  private readonly absences: { readonly client: number; readonly fromMs: number; readonly untilMs: number }[] = [];
  private readonly node: FaultNodeRun;
  /** Settles when the last fault of Redis is over. */
  private redisFree: Promise<void> = Promise.resolve();
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
      this.startMs = this.ledger.startMs = this.histories.startMs = clock();
      await Promise.all([this.reload(), ...this.schedule.faults.map((fault) => this.inflictInTime(fault))]);
      await this.settle();
    } finally {
      clearInterval(watch);
      this.readers.forEach((reader) => reader.close());
      await this.each(({ process }) => process.do({ task: 'end' }));
      await Promise.all(this.lines.map((line) => line[Symbol.asyncDispose]()));
    }
    // Only now it is known where clients went since.
    for (const { fault, fromMs, untilMs } of [...this.before, ...this.inflicted]) explain(this, fault, fromMs, untilMs);
    this.histories.wipes = this.inflicted.filter(({ fault: { kind } }) => isWipe(kind)).length;
    this.histories.wasWiped = this.world.wasWiped;
    this.histories.canBranch = this.inflicted.some(({ fault: { kind } }) => kind === 'redis-crash');
    const { findings, counts } = this.ledger.check();
    const histories = this.histories.check();
    const openings = this.readers.flatMap(({ openedAtMs }) => openedAtMs.slice(1).map((atMs) => atMs - this.startMs));
    return {
      seed: this.schedule.seed,
      findings: [...this.findings, ...findings, ...histories.findings],
      counts,
      histories: histories.counts,
      returns: this.returns(),
      openingsMs: openings.toSorted((a, b) => a - b),
      stallMs: this.stallMs,
      ways: this.waysOf([...findings, ...histories.findings]),
    };
  }

  note(poster: string, note: FaultNodeNote): void {
    if (note[0] === 'posted') {
      const [, channel, n, atMs, isAccepted] = note;
      if (keepsHistory(channel)) this.histories.posted(poster, channel, n, atMs, isAccepted);
      else if (isAccepted && this.isOwn(channel)) this.ledger.accepted(poster, channel, n, atMs);
      return;
    }
    const [, name] = note;
    // Whoever goes on where the process before it was is the same reader.
    const reader = name.endsWith(RESUMED) ? `slot ${poster.split('.')[0]}` : `node ${poster}`;
    const key = `${reader} ${name}`;
    if (note[0] === 'ready') {
      // The process before it never had a message, so nothing is known from where it could go on.
      const former = this.nodeLogs.get(key);
      if (former) former.hasEnded = true;
      this.nodeLogs.set(key, this.newLog(reader, name, note[2]));
    }
    const log = this.nodeLogs.get(key);
    if (note[0] === 'message') log?.message(note[2], note[3], note[4], clock(), note[5] ?? undefined);
    if (note[0] === 'gap' && !this.options.isDeafToGaps) log?.gap(note[2], note[3], note[4] ?? undefined);
  }

  /** @param way - of a node: a channel or a template, and how it is listened to */
  private newLog(reader: string, way: string, atMs: number): AnyLog {
    const [name] = way.split(' ') as [string];
    const hears = hearsOf(name);
    if (!keepsHistory(name)) return this.ledger.add(new ReaderLog(reader, way, hears, atMs));
    return this.histories.add(new HistoryLog(reader, way, hears, atMs, { isTemplate: name.includes(':') }));
  }

  private isOwn(channel: string): boolean {
    return channel.startsWith(`faults/${this.node.run}/`);
  }

  private each(act: (slot: Slot) => Promise<unknown>): Promise<unknown> {
    return Promise.all(this.slots.map(act));
  }

  private async openReaders(): Promise<void> {
    const { clients, natives, streams, isDeafToGaps = false } = this.options;
    const random = randomFrom(this.schedule.seed);
    const open = async (
      client: number,
      names: readonly string[],
      kind: 'client' | 'native' | 'stream',
    ): Promise<void> => {
      const visits: Visit[] = (this.visits[client] = []);
      const line = (this.lines[client] = await TcpProxy.start(() => {
        const up = this.slots.filter(({ isUp }) => isUp);
        if (up.length === 0) return undefined;
        const slot = up[random(up.length)]!;
        visits.push({ slot: slot.index, atMs: clock() });
        return slot.process.port;
      }));
      const id = `${kind} ${client}`;
      const { ledger, histories } = this;
      const settings = { id, line, ledger, histories, run: this.node.run, names, isDeafToGaps };
      this.readers[client] = await (kind === 'client'
        ? ClientReader.open(settings)
        : NativeReader.open(settings, kind === 'stream' ? names[0] : undefined));
    };
    const openings = [
      ...clients.map((names, index) => () => open(index, names, 'client')),
      ...natives.map((names, index) => () => open(clients.length + index, names, 'native')),
      ...streams.map((name, index) => () => open(clients.length + natives.length + index, [name], 'stream')),
    ];
    while (openings.length > 0) await Promise.all(openings.splice(0, OPENED_AT_ONCE).map((start) => start()));
  }

  private async reload(): Promise<void> {
    const random = randomFrom(this.schedule.seed + RELOAD_SALT);
    await Promise.all(
      this.options.reloads.map(async (client) => {
        await sleep(1_000 + random(RELOADED_WITHIN_MS));
        void (this.readers[client] as ClientReader).reload();
      }),
    );
  }

  private async inflictInTime(fault: Fault): Promise<void> {
    await sleep(fault.atMs - (clock() - this.startMs));
    await this.inflict(fault);
  }

  private inflict(fault: Fault): Promise<void> {
    if (partOf(fault.kind) !== 'redis') return this.strikeWith(fault);
    // On a busy machine the one before may take longer than it should.
    this.redisFree = this.redisFree.then(() => this.strikeWith(fault));
    return this.redisFree;
  }

  private async strikeWith(fault: Fault): Promise<void> {
    const fromMs = clock();
    const part = partOf(fault.kind);
    if (part === 'redis') await this.world.inflictOnRedis(fault);
    else if (part === 'client') await this.inflictOnClient(fault);
    else {
      const slots = fault.target === -1 ? this.slots : [this.slots[fault.target % this.slots.length]!];
      await Promise.all(
        slots.map((slot) => (part === 'link' ? inflictOnLink(slot.link, fault) : this.inflictOnNode(fault, slot))),
      );
    }
    this.inflicted.push({ fault, fromMs, untilMs: clock() });
  }

  private inflictOnNode(fault: Fault, slot: Slot): Promise<void> {
    slot.free = slot.free.then(() => this.strike(fault, slot));
    return slot.free;
  }

  private async strike(fault: Fault, slot: Slot): Promise<void> {
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
    for (const log of this.logs()) if (log.reader === `node ${process.name}`) log.hasEnded = true;
    await sleep(fault.forMs);
    await this.world.startProcess(slot);
    await slot.process.do({ task: 'listen', run: { ...this.node, from: this.readBy(slot) } });
    await slot.process.do({ task: 'post', run: this.node });
    slot.isUp = true;
  }

  /** Up to where the processes in a place have read channels with history. */
  private readBy({ index }: Slot): Record<string, Position> {
    const positions = this.channels().flatMap((channel) => {
      const log = this.nodeLogs.get(`slot ${index} ${channel} ${RESUMED}`);
      const position = log instanceof HistoryLog ? log.position(channel) : undefined;
      return position ? [[channel, position] as const] : [];
    });
    return Object.fromEntries(positions);
  }

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
      (log, poster, channel) => log.last(poster, channel) >= this.last(poster, channel),
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
    return new Map(this.channels().map((channel) => [channel, this.last(poster, channel)]));
  }

  private channels(): string[] {
    return Object.keys(this.options.everyMs).map((name) => channelOf(this.node.run, name).name);
  }

  private logs(): AnyLog[] {
    return [...this.ledger.logs, ...this.histories.logs];
  }

  private last(poster: string, channel: string): number {
    return (keepsHistory(channel) ? this.histories : this.ledger).last(poster, channel);
  }

  /** Waits until something holds for all who listen; else gives those for whom it does not, each with a poster and a channel. */
  private async lateAfter(
    ms: number,
    holds: (log: AnyLog, poster: string, channel: string) => boolean,
  ): Promise<(readonly [log: AnyLog, missed: string])[]> {
    const end = clock() + ms;
    const lateOf = (log: AnyLog): string | undefined => {
      if (log.hasEnded) return undefined;
      for (const channel of this.channels().filter(log.hears))
        for (const poster of this.posters()) if (!holds(log, poster, channel)) return `${poster} ${channel}`;
      return undefined;
    };
    let late = this.logs().filter((log) => lateOf(log) !== undefined);
    while (late.length > 0 && clock() < end) {
      await sleep(50);
      late = late.filter((log) => lateOf(log) !== undefined);
    }
    return late.map((log) => [log, lateOf(log)!] as const);
  }

  private find(kind: Finding['kind'], reader: string, name: string, what: string): void {
    this.findings.push({ kind, reader, name, what });
  }

  private returns(): ClientReturn[] {
    return this.absences.flatMap(({ client, fromMs, untilMs }) => {
      const opened = this.readers[client]!.openedAtMs.find((atMs) => atMs > fromMs);
      if (opened === undefined) return [];
      // What reached no server before the network was back, or broke off later, is not the attempt that it was opened by.
      const reached = this.visits[client]!.findLast(({ atMs }) => atMs <= opened)?.atMs ?? untilMs;
      return [{ waitMs: Math.max(0, reached - untilMs), openMs: Math.max(0, opened - Math.max(reached, untilMs)) }];
    });
  }
}
