// Posts that were sent over a connection that broke before Redis answered resolve with `false`. A network may still deliver them to Redis,
// minutes later: behind later posts of the same server, and to a server that clients with these posts have moved to meanwhile. So the server
// recalls them, over the next connection and before any other post to their channels.

import { createHash } from 'node:crypto';
import { InvalidMessageError } from '../protocol/errors.js';
import { RESERVED_PREFIX } from '../protocol/channel-name.js';
import { isOfSource } from '../protocol/source.js';
import { readList, readObject, readText } from '../protocol/wire-reader.js';

/** How a recall begins. Servers of earlier versions report it as an invalid message. */
const RECALL = '\n{"recalled":[';

/** How many posts one recall names. */
const MAX_NAMED = 1_000;

/** How many posts are remembered, at either end, and at the receiving one the last so many at least. Under load one may be a batch. */
const MAX_REMEMBERED = 20_000;

/** Recalls are repeated, for servers that were away themselves: after this time, and less often later. */
const REPEATED_MS = 100;

/** They are repeated after this part of their age. */
const REPEATED_PART = 1 / 16;

/** How long each channel of them delays the next time. */
const MS_PER_CHANNEL = 1;

/** How long each of them does: many are a megabyte for each server, each time. */
const MS_PER_POST = 0.05;

/** For how long they are repeated. */
const RECALLED_MS = 60_000;

/** For how long a recalled post may arrive. A system gives up the data of a closed connection after about two minutes. */
const REMEMBERED_MS = 300_000;

/** The beginning of an envelope, without or with others after it. */
const ENVELOPE = /^\n?\{"metadata":\{"v":/;

/** An envelope names its node and has a number, so these characters tell a text from all others. */
const TELLING_LENGTH = 512;

/** The length of a digest of 16 bytes in base64url. */
const DIGEST_LENGTH = 22;

/** Tells a published text from all others. A neighbour cannot recall what it does not know. */
function digestOf(text: string): string {
  return createHash('sha256').update(text.slice(0, TELLING_LENGTH)).digest('base64url').slice(0, DIGEST_LENGTH);
}

/** Whether a text is a recall. */
export function isRecall(text: string): boolean {
  return text.startsWith(RECALL);
}

/** How much is to be recalled, by all publishers of a transport. A Cluster that shards channels may lose all its masters at once. */
export class RecallLoad {
  posts = 0;
  channels = 0;
}

/** What a server has sent and may still arrive, and when it is to be recalled. */
export class AbandonedPosts {
  /** The digests of posts by Redis channel. */
  private readonly channels = new Map<string, string[]>();
  private count = 0;
  /** When they were recalled first; absent until then. A connection may come back later than they are repeated. */
  private sinceMs: number | undefined = undefined;
  private nextMs = 0;
  private timer: NodeJS.Timeout | undefined = undefined;

  /**
   * @param nameStart - where the name begins in a Redis channel
   * @param due - called when {@link take} gives something again
   * @param load - shared by all publishers of a transport
   */
  constructor(
    private readonly nameStart: number,
    private readonly due: () => void,
    private readonly load: RecallLoad,
  ) {}

  get isEmpty(): boolean {
    return this.count === 0;
  }

  /** The connection is lost over which a text was published. */
  add(channel: string, text: string): void {
    const name = channel.slice(this.nameStart);
    // The library's own channels rely on no order, and a revocation is better late than lost.
    if (name.startsWith(RESERVED_PREFIX) && !isOfSource(name)) return;
    if (!ENVELOPE.test(text) || this.load.posts >= MAX_REMEMBERED) return;
    this.count++;
    this.load.posts++;
    this.sinceMs = undefined;
    const known = this.channels.get(channel);
    if (known !== undefined) known.push(digestOf(text));
    else {
      this.channels.set(channel, [digestOf(text)]);
      this.load.channels++;
    }
    this.again();
  }

  /** They are due. A connection is lost: the last recalls may be, too. */
  again(): void {
    this.nextMs = 0;
  }

  /** @returns what has to be published before posts */
  take(): (readonly [channel: string, text: string])[] {
    const now = performance.now();
    if (now < this.nextMs) return [];
    const ageMs = now - (this.sinceMs ??= now);
    const texts = [...this.channels].flatMap(([channel, digests]) =>
      recallsOf(digests).map((text) => [channel, text] as const),
    );
    if (ageMs > RECALLED_MS) {
      this.forget();
      return texts;
    }
    const { posts, channels } = this.load;
    const pauseMs = Math.max(REPEATED_MS, ageMs * REPEATED_PART, channels * MS_PER_CHANNEL + posts * MS_PER_POST);
    this.nextMs = now + pauseMs;
    clearTimeout(this.timer);
    this.timer = setTimeout(this.repeat, pauseMs).unref();
    return texts;
  }

  close(): void {
    clearTimeout(this.timer);
  }

  private forget(): void {
    this.load.posts -= this.count;
    this.load.channels -= this.channels.size;
    this.channels.clear();
    this.count = 0;
  }

  private readonly repeat = (): void => {
    // A timer may be early by this clock, and nothing else may call take().
    this.again();
    this.due();
  };
}

function recallsOf(digests: readonly string[]): string[] {
  return Array.from({ length: Math.ceil(digests.length / MAX_NAMED) }, (_, part) => {
    const recalled = digests.slice(part * MAX_NAMED, (part + 1) * MAX_NAMED);
    return `\n${JSON.stringify({ recalled })}`;
  });
}

/** What other servers have recalled. */
export class RecalledPosts {
  // When the newer part is full, it becomes the older one. In one set, to find the first of many would take a hundredth of a second for each
  // recall, since a set passes all places of those that it had before.
  private newer = new Set<string>();
  private older = new Set<string>();
  private untilMs = 0;

  /** @throws InvalidMessageError for a text that no server has written */
  note(recall: string): void {
    for (const digest of readRecall(recall)) this.add(digest);
    this.untilMs = performance.now() + REMEMBERED_MS;
  }

  /** Whether a text was recalled. It may come once through each subscription. */
  has(text: string): boolean {
    const { newer, older } = this;
    if (newer.size === 0) return false;
    if (performance.now() > this.untilMs) {
      newer.clear();
      older.clear();
      return false;
    }
    const digest = digestOf(text);
    return newer.has(digest) || older.has(digest);
  }

  private add(digest: string): void {
    // Most are repeated.
    if (this.newer.has(digest)) return;
    if (this.newer.size >= MAX_REMEMBERED) {
      this.older = this.newer;
      this.newer = new Set();
    }
    this.newer.add(digest);
  }
}

function readRecall(text: string): string[] {
  if (text.length > MAX_NAMED * (DIGEST_LENGTH + 3) + RECALL.length + 2)
    throw new InvalidMessageError(`a recall of ${text.length} characters is longer than this server takes`);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new InvalidMessageError('a recall is not JSON', { cause });
  }
  const { recalled } = readObject(parsed, 'a recall');
  return readList(recalled, 'recalled', MAX_NAMED, (digest) => readText(digest, 'a digest', DIGEST_LENGTH));
}
