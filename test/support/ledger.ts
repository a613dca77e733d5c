/** A checker's findings about one reader. */
export interface Finding {
  /**
   * - `lost`: messages that Redis accepted are missing, and no gap stands where they are missing
   * - `doubled`, `disorder`: a message came twice, or behind a later one of its poster
   * - `false gap`: nothing is missing, and nothing has happened that could have lost a message
   * - `doubled gap`: one loss was told twice
   * - `needless loss`: messages are missing, and a gap says so, though nothing has happened that may lose them
   * - `absent`: the reader did not come back
   */
  readonly kind: 'lost' | 'doubled' | 'disorder' | 'false gap' | 'doubled gap' | 'needless loss' | 'absent';
  readonly reader: string;
  /** The channel or template that the reader is subscribed to. */
  readonly name: string;
  readonly what: string;
}

/** An event that may lose messages of a reader. */
export interface Cause {
  readonly fromMs: number;
  /** The last time at which it can explain a gap. */
  readonly untilMs: number;
  /** How often it may lose messages of one channel: a reader that moves between nodes loses some at each. */
  readonly times: number;
}

/** The messages that all readers together received. */
export interface LedgerCounts {
  readonly received: number;
  /** Missing messages whose loss was reported. */
  readonly told: number;
  /** Missing messages whose loss was not reported. */
  readonly silent: number;
  readonly doubled: number;
  readonly disorder: number;
  readonly gaps: number;
  /** Gaps with nothing missing, though a cause existed. */
  readonly idleGaps: number;
  /** Gaps without a cause. */
  readonly falseGaps: number;
}

interface Message {
  readonly stream: string;
  readonly n: number;
  readonly atMs: number;
}

interface Gap {
  readonly reason: string;
  readonly atMs: number;
}

interface Accepted {
  readonly channel: string;
  last: number;
  readonly numbers: { readonly n: number; readonly atMs: number }[];
}

/** A run of numbers that a reader did not receive, between two places of its log. */
interface Hole {
  readonly stream: string;
  readonly numbers: readonly number[];
  /** When the first and the last of them were posted. */
  readonly postedMs: readonly [number, number];
  readonly after: number;
  readonly before: number;
}

/** One reader of one channel or template, and everything that it received, in order. */
export class ReaderLog {
  readonly entries: (Message | Gap)[] = [];
  readonly causes: Cause[] = [];
  readonly #last = new Map<string, number>();
  /** Whether it left for good. Later messages then do not count as missing. */
  hasEnded = false;

  /**
   * @param hears - whether it receives messages of a channel
   * @param sinceMs - posts from then on must reach it
   */
  constructor(
    readonly reader: string,
    readonly name: string,
    readonly hears: (channel: string) => boolean,
    readonly sinceMs: number,
  ) {}

  message(poster: string, channel: string, n: number, atMs: number): void {
    const stream = streamOf(poster, channel);
    this.entries.push({ stream, n, atMs });
    this.#last.set(stream, Math.max(n, this.last(poster, channel)));
  }

  gap(reason: string, atMs: number): void {
    this.entries.push({ reason, atMs });
  }

  /** The highest number that it received of a poster on a channel. */
  last(poster: string, channel: string): number {
    return this.#last.get(streamOf(poster, channel)) ?? 0;
  }
}

/**
 * Follows every message from posters to readers. Each poster numbers its posts on each channel. A reader must
 * receive the posts that Redis has accepted in the order of the numbers, once; or a gap must stand between the last message
 * before the missing ones and the first one after them. Each gap needs its own {@link Cause}.
 */
export class Ledger {
  readonly logs: ReaderLog[] = [];
  /** The start of the times in reports. */
  startMs = 0;
  readonly #accepted = new Map<string, Accepted>();

  add(log: ReaderLog): ReaderLog {
    this.logs.push(log);
    return log;
  }

  /** A post answered with `true`. */
  accepted(poster: string, channel: string, n: number, atMs: number): void {
    const stream = streamOf(poster, channel);
    let known = this.#accepted.get(stream);
    if (!known) this.#accepted.set(stream, (known = { channel, last: 0, numbers: [] }));
    known.numbers.push({ n, atMs });
    known.last = Math.max(known.last, n);
  }

  /** The highest number of a poster on a channel that was answered with `true`. */
  last(poster: string, channel: string): number {
    return this.#accepted.get(streamOf(poster, channel))?.last ?? 0;
  }

  check(): { readonly findings: Finding[]; readonly counts: LedgerCounts } {
    for (const { numbers } of this.#accepted.values()) numbers.sort((a, b) => a.n - b.n);
    const shown = (atMs: number): number => Math.round(atMs - this.startMs);
    const checked = this.logs.map((log) => checkLog(log, this.#accepted, shown));
    const sum = (of: keyof LedgerCounts): number => checked.reduce((total, { counts }) => total + counts[of], 0);
    return {
      findings: checked.flatMap(({ findings }) => findings),
      counts: {
        received: sum('received'),
        told: sum('told'),
        silent: sum('silent'),
        doubled: sum('doubled'),
        disorder: sum('disorder'),
        gaps: sum('gaps'),
        idleGaps: sum('idleGaps'),
        falseGaps: sum('falseGaps'),
      },
    };
  }
}

function checkLog(
  log: ReaderLog,
  accepted: ReadonlyMap<string, Accepted>,
  shown: (atMs: number) => number,
): { findings: Finding[]; counts: LedgerCounts } {
  const findings: Finding[] = [];
  const find = (kind: Finding['kind'], what: string): number =>
    findings.push({ kind, reader: log.reader, name: log.name, what });
  const placesOf = placesByStream(log);
  let [doubled, disorder] = [0, 0];
  for (const [stream, places] of placesOf) {
    const numbers = places.map((place) => (log.entries[place] as Message).n);
    const [had, twice, late]: [Set<number>, number[], number[]] = [new Set(), [], []];
    let highest = 0;
    for (const n of numbers) {
      if (had.has(n)) twice.push(n);
      else if (n < highest) late.push(n);
      had.add(n);
      highest = Math.max(highest, n);
    }
    if (twice.length > 0) find('doubled', `${stream}: ${ranges(twice)}`);
    if (late.length > 0) find('disorder', `${stream}: ${ranges(late)} behind later ones`);
    doubled += twice.length;
    disorder += late.length;
  }
  const gapPlaces = log.entries.flatMap((entry, place) => ('reason' in entry ? [place] : []));
  const holes = holesOf(log, placesOf, accepted);
  let [told, silent] = [0, 0];
  for (const hole of holes) {
    if (gapPlaces.some((place) => isIn(hole, place))) told += hole.numbers.length;
    else {
      silent += hole.numbers.length;
      const [from, to] = hole.postedMs.map(shown);
      find('lost', `${hole.stream}: ${ranges(hole.numbers)} of ${from}–${to} ms, ${around(log, hole, shown)}`);
    }
  }
  const explained = explain(
    log,
    gapPlaces.map((place) => log.entries[place] as Gap),
  );
  const covers = (place: number): boolean => holes.some((hole) => isIn(hole, place));
  for (const [index, place] of gapPlaces.entries()) {
    if (explained.has(index)) continue;
    const beside = holes.find(
      (hole) => isIn(hole, place) && gapPlaces.some((other) => other < place && isIn(hole, other)),
    );
    const kind = beside ? 'doubled gap' : covers(place) ? 'needless loss' : 'false gap';
    const { reason, atMs } = log.entries[place] as Gap;
    const missing = holes
      .filter((hole) => isIn(hole, place))
      .map(({ stream, numbers }) => `${stream}: ${ranges(numbers)}`);
    const all = gapPlaces.map((other) => shown(log.entries[other]!.atMs)).join(', ');
    find(kind, [`${reason} at ${shown(atMs)} ms, of gaps at ${all} ms`, ...missing.slice(0, 2)].join('; '));
  }
  return {
    findings,
    counts: {
      received: log.entries.length - gapPlaces.length,
      told,
      silent,
      doubled,
      disorder,
      gaps: gapPlaces.length,
      idleGaps: gapPlaces.filter((place) => !covers(place)).length,
      falseGaps: gapPlaces.length - explained.size,
    },
  };
}

/** Whether a place lies between the messages around a hole. */
function isIn({ after, before }: Hole, place: number): boolean {
  return place > after && place < before;
}

/** The places of the messages of each poster on each channel in a log. */
function placesByStream({ entries }: ReaderLog): Map<string, number[]> {
  const places = new Map<string, number[]>();
  for (const [place, entry] of entries.entries()) {
    if (!('n' in entry)) continue;
    const of = places.get(entry.stream);
    if (of) of.push(place);
    else places.set(entry.stream, [place]);
  }
  return places;
}

function holesOf(
  log: ReaderLog,
  placesOf: ReadonlyMap<string, readonly number[]>,
  accepted: ReadonlyMap<string, Accepted>,
): Hole[] {
  const holes: Hole[] = [];
  for (const [stream, { channel, numbers }] of accepted) {
    if (!log.hears(channel)) continue;
    const places = placesOf.get(stream) ?? [];
    const had = new Set(places.map((place) => (log.entries[place] as Message).n));
    const missing = numbers.filter(({ n, atMs }) => atMs >= log.sinceMs && !had.has(n));
    let [after, last] = [-1, 0];
    const look = (n: number, before: number): void => {
      const between = missing.filter((other) => other.n > last && other.n < n);
      if (between.length === 0) return;
      const postedMs = [between[0]!.atMs, between.at(-1)!.atMs] as const;
      holes.push({ stream, numbers: between.map((other) => other.n), postedMs, after, before });
    };
    for (const place of places) {
      const { n } = log.entries[place] as Message;
      if (n <= last) continue;
      look(n, place);
      [after, last] = [place, n];
    }
    if (!log.hasEnded) look(Infinity, Infinity);
  }
  return holes;
}

/** The indices of the gaps that have a cause each: of matching causes, the one that ends first. */
function explain({ causes }: ReaderLog, gaps: readonly Gap[]): ReadonlySet<number> {
  const left = causes.map((cause) => ({ ...cause })).toSorted((a, b) => a.untilMs - b.untilMs);
  const explained = new Set<number>();
  for (const [index, { atMs }] of gaps.entries()) {
    const cause = left.find(({ fromMs, untilMs, times }) => times > 0 && fromMs <= atMs && atMs <= untilMs);
    if (!cause) continue;
    cause.times--;
    explained.add(index);
  }
  return explained;
}

/** When the reader received the messages around a hole, and all of its gaps. */
function around({ entries }: ReaderLog, { after, before }: Hole, shown: (atMs: number) => number): string {
  const [last, next] = [entries[after], entries[before]].map((entry) =>
    entry ? `${shown(entry.atMs)} ms` : 'nothing',
  );
  const gaps = entries.flatMap((entry, place) =>
    'reason' in entry ? [`${entry.reason} ${place <= after ? 'before' : 'behind'} at ${shown(entry.atMs)} ms`] : [],
  );
  return `between ${last} and ${next}; gaps: ${gaps.length > 0 ? gaps.slice(0, 6).join(', ') : 'none'}`;
}

function streamOf(poster: string, channel: string): string {
  return `${poster} ${channel}`;
}

/** `1–3, 7`. */
function ranges(numbers: readonly number[]): string {
  const parts: [number, number][] = [];
  for (const n of numbers.toSorted((a, b) => a - b)) {
    const last = parts.at(-1);
    if (last && n <= last[1] + 1) last[1] = n;
    else parts.push([n, n]);
  }
  const shown = parts.slice(0, 5).map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`));
  return `${shown.join(', ')}${parts.length > 5 ? ' …' : ''} (${numbers.length})`;
}
