/** One entry of the log. */
export interface LogEntry {
  readonly level: 'error' | 'warn' | 'log';
  readonly text: string;
  /** What failed; its stack is written with the line. */
  readonly error?: unknown;
}

/** A line that becomes an entry of the log, or is only counted. */
export interface LogLine extends Omit<LogEntry, 'text'> {
  /** Makes the text. Not called for most of the lines that are held back. */
  readonly text: () => string;
  /** Whether it tells how something is from now on; of those that are held back, the latest is reported soon. */
  readonly isState?: boolean;
  /** Whether one line of its kind is written at once, in place of {@link LogLimits.maxLines}. */
  readonly isBrief?: boolean;
}

/** Bounds of a {@link LogLimiter}. */
export interface LogLimits {
  /** How many lines of one kind are written before the others are counted. */
  readonly maxLines: number;
  /** How long lines are counted until one line reports them. */
  readonly intervalMs: number;
  /** How many kinds are told apart. */
  readonly maxKinds: number;
  /** How long a state has to last to be reported before the interval ends. */
  readonly settleMs: number;
}

const DEFAULTS: LogLimits = { maxLines: 5, intervalMs: 60_000, maxKinds: 200, settleMs: 5_000 };
/** How long a line that was held back waits for a later one, before its text is made: what it was made of is not kept for long. */
const MAX_UNMADE_MS = 100;
/** Of all lines whose kind is one too many. */
const OTHER_KINDS = Symbol('other kinds');
const MAX_KIND_LENGTH = 200;

interface Kind {
  written: number;
  heldBack: number;
  /** The latest line that was held back; a {@link LogEntry} once its text is made. */
  last: LogLine | LogEntry | undefined;
  /** When the lines that were held back are reported, or, if no line was, the kind is forgotten. */
  until: number;
  settling?: NodeJS.Timeout;
}

/**
 * Bounds what the log is given, whatever happens and however often. Of each kind of line a few are written at once. Then
 * one line per interval reports how many were held back, with the latest of them. A kind that was quiet for an interval
 * starts anew.
 */
export class LogLimiter {
  private readonly kinds = new Map<string | symbol, Kind>();
  private readonly limits: LogLimits;
  private timer: NodeJS.Timeout | undefined = undefined;
  private making: NodeJS.Timeout | undefined = undefined;

  /** @param write - must not throw */
  constructor(
    private readonly write: (entry: LogEntry) => void,
    limits: Partial<LogLimits> = {},
  ) {
    this.limits = { ...DEFAULTS, ...limits };
  }

  /** @param kind - the sort of event and its place in the code, never a text that a client chooses */
  offer(kind: string, line: LogLine): void {
    const { maxKinds, intervalMs } = this.limits;
    const maxLines = line.isBrief ? 1 : this.limits.maxLines;
    const known = kind.length > MAX_KIND_LENGTH ? kind.slice(0, MAX_KIND_LENGTH) : kind;
    const isOther = !this.kinds.has(known) && this.kinds.size >= maxKinds;
    const key = isOther ? OTHER_KINDS : known;
    let state = this.kinds.get(key);
    if (state === undefined) {
      state = { written: 0, heldBack: 0, last: undefined, until: performance.now() + intervalMs };
      this.kinds.set(key, state);
      this.timer ??= setTimeout(() => this.sweep(), intervalMs).unref();
    }
    if (state.written >= maxLines) {
      state.heldBack++;
      state.last = line;
      this.making ??= setTimeout(() => this.makeTexts(), MAX_UNMADE_MS).unref();
      if (line.isState) this.settle(state);
      return;
    }
    state.written++;
    const { level, error } = line;
    const text = line.text();
    this.write({ level, error, text: state.written < maxLines ? text : `${text} (${this.notice(isOther)})` });
  }

  /** Reports now what was held back; for the end of the application. */
  flush(): void {
    clearTimeout(this.timer);
    clearTimeout(this.making);
    this.timer = undefined;
    this.making = undefined;
    for (const state of this.kinds.values()) this.report(state);
    this.kinds.clear();
  }

  private notice(isOther: boolean): string {
    const { maxKinds, intervalMs } = this.limits;
    const lines = isOther
      ? `${maxKinds} kinds of lines are told apart; those of other kinds`
      : 'further lines like this';
    return `${lines} are counted and reported every ${intervalMs / 1_000} s`;
  }

  private sweep(): void {
    const now = performance.now();
    let next = Infinity;
    for (const [key, state] of this.kinds) {
      if (state.until <= now) {
        if (state.heldBack === 0) {
          this.kinds.delete(key);
          continue;
        }
        state.until = now + this.limits.intervalMs;
        this.report(state);
      }
      next = Math.min(next, state.until);
    }
    this.timer = next === Infinity ? undefined : setTimeout(() => this.sweep(), Math.ceil(next - now)).unref();
  }

  private settle(state: Kind): void {
    clearTimeout(state.settling);
    state.settling = setTimeout(() => this.report(state), this.limits.settleMs).unref();
  }

  private makeTexts(): void {
    this.making = undefined;
    for (const state of this.kinds.values()) {
      if (state.last !== undefined) state.last = entryOf(state.last);
    }
  }

  private report(state: Kind): void {
    clearTimeout(state.settling);
    const { heldBack, last } = state;
    if (last === undefined) return;
    [state.heldBack, state.last] = [0, undefined];
    const { level, text } = entryOf(last);
    this.write({ level, text: `${heldBack} lines like this were held back, the latest: ${text}` });
  }
}

/** Without the error, which may hold anything for as long as it is held. */
function entryOf({ level, text }: LogLine | LogEntry): LogEntry {
  return { level, text: typeof text === 'string' ? text : text() };
}
