import type { Hub } from '../core/hub.js';
import type { Reporter } from '../core/reporter.js';
import { InvalidMessageError, TransportUnavailableError } from '../protocol/errors.js';
import { exceedsBytes } from '../protocol/limits.js';
import type { ClientFeeds, FeedMessage } from './client-feeds.js';
import { Frame } from './frame.js';

/** How far a client has read what a node sent it. */
export interface Position {
  readonly node: string;
  readonly seq: number;
}

/** What was sent after a position. */
export interface Missed {
  /** In order. */
  readonly messages: readonly Pick<FeedMessage, 'id' | 'frame'>[];
  /** The names of which none is missing. */
  readonly complete: readonly string[];
}

/** What one node asks another for. */
export interface RecoveryQuestion {
  readonly seq: number;
  readonly names: readonly string[];
}

/** The {@link Missed} of a question, as plain values. */
interface RecoveryAnswer {
  readonly messages: readonly (readonly [id: string | null, frame: string])[];
  readonly complete: readonly string[];
}

const NOTHING = { messages: [], complete: [] } as const;
/** A node that has not answered is not asked again for so long: many of its clients may come here at once. */
const SILENT_MS = 10_000;

/** Finds what clients have missed, on this node or on the one that they come from. */
export class ClientRecovery {
  /** Until when nodes are taken to be gone, in the order in which they were asked. */
  private readonly silent = new Map<string, number>();

  /**
   * @param ask - asks another node a {@link RecoveryQuestion}; rejects where that does not answer
   * @param maxBytes - how long an answer may be
   */
  constructor(
    private readonly hub: Hub,
    private readonly feeds: ClientFeeds,
    private readonly reporter: Reporter,
    private readonly ask: (node: string, question: RecoveryQuestion) => Promise<unknown>,
    private readonly maxBytes: number,
  ) {}

  /** What was sent under some names after a position. Never rejects: what cannot be found is not complete. */
  async find({ node, seq }: Position, names: readonly string[]): Promise<Missed> {
    if (node === this.hub.node) return this.feeds.since(seq, names);
    if (names.length === 0 || !this.hub.hasTransport || this.isSilent(node)) return NOTHING;
    try {
      return readAnswer(await this.ask(node, { seq, names }));
    } catch (error) {
      if (error instanceof TransportUnavailableError) this.silent.set(node, performance.now() + SILENT_MS);
      else this.reporter.messageRejected({ channel: `messaging:node/${node}`, error: error as Error });
      return NOTHING;
    }
  }

  /** Answers another node. */
  answer({ seq, names }: RecoveryQuestion): RecoveryAnswer {
    const { messages, complete } = this.feeds.since(seq, names);
    const answer: RecoveryAnswer = {
      messages: messages.map(({ id = null, frame }) => [id, frame.bytes.toString()]),
      complete,
    };
    return exceedsBytes(JSON.stringify(answer), this.maxBytes) ? NOTHING : answer;
  }

  private isSilent(node: string): boolean {
    const now = performance.now();
    for (const [other, until] of this.silent) {
      if (until > now) break;
      this.silent.delete(other);
    }
    return this.silent.has(node);
  }
}

/** @throws InvalidMessageError */
function readAnswer(answer: unknown): Missed {
  const { messages, complete } = (answer ?? {}) as Partial<RecoveryAnswer>;
  if (!Array.isArray(messages) || !Array.isArray(complete)) {
    throw new InvalidMessageError('the answer of another node to what a client has missed is none');
  }
  return {
    messages: (messages as RecoveryAnswer['messages']).map(([id, frame]) => ({
      id: id ?? undefined,
      frame: new Frame(Buffer.from(frame)),
    })),
    complete: complete as string[],
  };
}
