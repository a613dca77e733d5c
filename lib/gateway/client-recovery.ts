import type { Hub } from '../core/hub.js';
import type { Reporter } from '../core/reporter.js';
import { MAX_CHANNEL_NAME_LENGTH } from '../protocol/channel-name.js';
import { TransportUnavailableError } from '../protocol/errors.js';
import { exceedsBytes } from '../protocol/limits.js';
import { readList, readObject, readText, readWholeNumber } from '../protocol/wire-reader.js';
import type { ClientFeeds, FeedMessage } from './client-feeds.js';
import { Frame } from '../sse/frame.js';

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
/** Of a message: that of its node, a dot and a number. */
const MAX_ID_LENGTH = 150;

/** Finds what clients have missed, on this node or on the one that they come from. */
export class ClientRecovery {
  /** Until when nodes are taken to be gone, in the order in which they were asked. */
  private readonly silent = new Map<string, number>();

  /**
   * @param ask - asks another node a {@link RecoveryQuestion}; rejects where that does not answer
   * @param limits - how long an answer may be, and how many names a question may have
   */
  constructor(
    private readonly hub: Hub,
    private readonly feeds: ClientFeeds,
    private readonly reporter: Reporter,
    private readonly ask: (node: string, question: RecoveryQuestion) => Promise<unknown>,
    private readonly limits: { readonly maxBytes: number; readonly maxNames: number },
  ) {}

  /** What was sent under some names after a position. Never rejects: what cannot be found is not complete. */
  async find({ node, seq }: Position, names: readonly string[]): Promise<Missed> {
    if (node === this.hub.node) return this.feeds.since(seq, names);
    if (names.length === 0 || !this.hub.hasTransport || this.isSilent(node)) return NOTHING;
    try {
      return this.readAnswer(await this.ask(node, { seq, names }), names);
    } catch (error) {
      if (error instanceof TransportUnavailableError) this.silent.set(node, performance.now() + SILENT_MS);
      else this.reporter.messageRejected({ channel: `messaging:node/${node}`, error: error as Error });
      return NOTHING;
    }
  }

  /**
   * Answers another node.
   *
   * @throws InvalidMessageError for what is no {@link RecoveryQuestion}
   */
  answer(question: unknown): RecoveryAnswer {
    const { seq, names } = readQuestion(question, this.limits.maxNames);
    const { messages, complete } = this.feeds.since(seq, names);
    const answer: RecoveryAnswer = {
      messages: messages.map(({ id = null, frame }) => [id, frame.bytes.toString()]),
      complete,
    };
    return exceedsBytes(JSON.stringify(answer), this.limits.maxBytes) ? NOTHING : answer;
  }

  /** @throws InvalidMessageError */
  private readAnswer(value: unknown, names: readonly string[]): Missed {
    const { messages, complete } = readObject(value, 'the answer');
    const asked = new Set(names);
    return {
      messages: readList(messages, 'its messages', this.limits.maxBytes, (item) => {
        const [id, text] = readList(item, 'a message of the answer', 2, (part) => part);
        const frame = readText(text, 'its frame', this.limits.maxBytes);
        const { channel, template } = readFrame(frame);
        // What is defined here decides too: the other node may not have loaded all of it.
        const isMeant = asked.has(template ?? channel);
        const isAllowed = template === undefined || this.hub.definitions.decides(template, channel);
        return isMeant && isAllowed ? [{ id: readId(id, 'its id'), frame: new Frame(Buffer.from(frame)) }] : [];
      }).flat(),
      complete: readList(complete, 'what is complete', names.length, readName),
    };
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
function readQuestion(value: unknown, maxNames: number): RecoveryQuestion {
  const { seq, names } = readObject(value, 'what a client has missed');
  return { seq: readWholeNumber(seq, 'its number'), names: readList(names, 'its names', maxNames, readName) };
}

function readName(value: unknown, path: string): string {
  return readText(value, path, MAX_CHANNEL_NAME_LENGTH);
}

function readId(value: unknown, path: string): string | undefined {
  return value === null ? undefined : readText(value, path, MAX_ID_LENGTH);
}

/**
 * Reads a frame of `ClientFeeds`: nothing else may get into a client's stream.
 *
 * @returns the channel, and the template if it was sent by that
 * @throws InvalidMessageError
 */
function readFrame(frame: string): { readonly channel: string; readonly template: string | undefined } {
  const [, data] = /^id: \d{1,16}\ndata: ([^\r\n]*)\n\n$/.exec(frame) ?? [];
  const { channel, template } = readObject(parse(data), 'a message of the answer');
  return {
    channel: readName(channel, 'its channel'),
    template: template === undefined ? undefined : readName(template, 'its template'),
  };
}

function parse(json: string | undefined): unknown {
  try {
    return json === undefined ? undefined : JSON.parse(json);
  } catch {
    return undefined;
  }
}
