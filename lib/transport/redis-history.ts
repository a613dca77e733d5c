import { randomBytes } from 'node:crypto';
import type { ReadBounds } from '../core/channel-log.js';
import type {
  AppendOutcome,
  HistoryBounds,
  HistoryChanges,
  HistoryPost,
  HistoryRead,
  HistoryStore,
  HistoryTime,
} from '../core/history-store.js';
import { inTime } from '../core/in-time.js';
import { RESERVED_PREFIX, quote } from '../protocol/channel-name.js';
import { ConfigurationError, InvalidMessageError, TransportUnavailableError } from '../protocol/errors.js';
import type { Position } from '../protocol/position.js';
import { readList, readText, readTuple } from '../protocol/wire-reader.js';
import { isDenial, isReply, replyText, type RedisClient } from './redis-client.js';
import { RedisHistoryAppends } from './redis-history-appends.js';
import { boundsOf, positionOf, readPage } from './redis-history-read.js';
import { askedOf, readChanges, timeIn } from './redis-history-moment.js';
import {
  CHANGES_SCRIPT,
  CHECK_SCRIPT,
  POSITION_SCRIPT,
  POSITIONS_SCRIPT,
  READ_SCRIPT,
} from './redis-history-scripts.js';
import type { OutboundGate } from './outbound-gate.js';
import type { RedisLink } from './redis-link.js';
import { HISTORY_PARTS, type HistoryKeys, type RedisNames } from './redis-names.js';
import type { PostProblem, PublisherListener } from './post-problem.js';
import { RedisScript } from './redis-script.js';

const READ = new RedisScript(READ_SCRIPT);
const CHANGES = new RedisScript(CHANGES_SCRIPT);
const POSITION = new RedisScript(POSITION_SCRIPT);
const POSITIONS = new RedisScript(POSITIONS_SCRIPT);
const CHECK = new RedisScript(CHECK_SCRIPT);

/** Commands that Redis forbids, or does not know. */
const MISSING = /^(NOPERM|ERR unknown command|ERR Unknown Redis command|ERR syntax error|ERR This Redis command)/i;

/** Learns of problems with histories. */
export interface HistoryListener extends PublisherListener {
  /** Redis has a value in place of a history that this library has not written. Reported once until that is repaired. */
  malformed(channel: string, error: Error): void;
}

/** How many malformed histories are reported at most. */
const MAX_TOLD = 100;

/**
 * The histories of channels in Redis: for each a stream and a hash, in one slot of a Cluster. An append also publishes, in the same step,
 * on the same Redis channel as posts without a history.
 */
export class RedisHistory implements HistoryStore {
  private readonly appends: RedisHistoryAppends;
  private readonly told = new Set<string>();
  private link: RedisLink | undefined = undefined;
  private isClosed = false;

  /** @param timeoutMs - how long a post, or a question, may take */
  constructor(
    private readonly names: RedisNames,
    private readonly timeoutMs: number,
    private readonly listener: HistoryListener,
    gate: OutboundGate,
  ) {
    const node = [...randomBytes(12)].map((byte) => (byte % 36).toString(36)).join('');
    this.appends = new RedisHistoryAppends(names, node, timeoutMs, listener, gate);
  }

  /** Sets the link. Call it once. */
  attach(link: RedisLink): void {
    this.link = link;
    this.appends.attach(link);
  }

  /** Why posts to histories are not accepted. */
  get problem(): PostProblem {
    return this.appends.problem;
  }

  append(channel: string, post: HistoryPost, bounds: HistoryBounds): Promise<AppendOutcome> {
    return this.appends.append(channel, post, bounds);
  }

  async read(channel: string, after: Position | number, page?: ReadBounds): Promise<HistoryRead> {
    const bounds = boundsOf(page);
    const { state, stream } = this.names.history(channel);
    const [epoch, offset] = typeof after === 'number' ? ['*', after] : [after.epoch, after.offset];
    const args = [epoch, String(offset), String(bounds.maxEntries), String(bounds.maxBytes)];
    const answer = await this.ask((link) => READ.run(link.client, [state, stream], args), channel);
    try {
      const read = readPage(channel, after, bounds, answer);
      this.told.delete(channel);
      return read;
    } catch (cause) {
      const text = `${(cause as Error).message}; delete the key ${stream}, or keep others from writing to it`;
      const error = new InvalidMessageError(text, { cause });
      if (!this.told.has(channel) && this.told.size < MAX_TOLD) {
        this.told.add(channel);
        this.listener.malformed(channel, error);
      }
      throw error;
    }
  }

  positions(channels: readonly string[], at?: HistoryTime): Promise<Position[]> {
    const keys = channels.map((channel) => this.names.history(channel));
    return this.ask(async ({ client }) => {
      if (at === undefined) return endsOf(client, keys);
      const answers = keys.map(({ state, stream, part }) => POSITION.run(client, [state, stream], [timeIn(part, at)]));
      return (await Promise.all(answers)).map(positionOf);
    });
  }

  changes(since?: HistoryTime): Promise<HistoryChanges> {
    const { names } = this;
    return this.ask(async ({ client }) => {
      const keys = Array.from({ length: names.parts }, (_, part) => names.changes(part));
      // Each part is in its own slot.
      const size = client.isCluster ? 1 : names.parts;
      const answers: Promise<unknown[]>[] = [];
      for (let first = 0; first < names.parts; first += size) {
        const args = [randomBytes(12).toString('hex'), ...askedOf(first, size, since)];
        answers.push(CHANGES.run(client, keys.slice(first, first + size), args).then(listOf));
      }
      return readChanges((await Promise.all(answers)).flat());
    });
  }

  async check(): Promise<ConfigurationError | undefined> {
    const lack = await this.findLack();
    return lack === 'unknown' ? undefined : lack;
  }

  /**
   * Checks whether Redis supports everything that histories need.
   *
   * @returns the reason if not; `unknown` if Redis has not answered
   */
  async findLack(): Promise<ConfigurationError | 'unknown' | undefined> {
    const channel = `${RESERVED_PREFIX}history/check`;
    const key = this.names.history(channel).post(randomBytes(6).toString('hex'));
    const { address, client } = this.link!;
    try {
      const answer = await this.ask(() =>
        CHECK.run(client, [key], [this.names.publishCommand, this.names.toPublish(channel)]),
      );
      const refused = readList(answer, 'the answer', 100, (item, path) => readText(item, path, Infinity));
      for (let index = 0; index < refused.length; index += 2) {
        const why = refused[index + 1]!;
        // The links report this themselves, since they publish with it even without histories.
        if (refused[index] === 'SPUBLISH') continue;
        if (MISSING.test(why) || why.includes("can't run this command")) return lacks(address, refused[index]!, why);
      }
      await this.ask(() => client.call('HMGET', key, 'epoch'));
    } catch (error) {
      const { cause } = error as Error;
      if (cause instanceof Error && (isDenial(cause) || MISSING.test(cause.message))) {
        const [, command = 'EVAL'] = /the '([\w|]+)' command|unknown command ['`](\w+)/i.exec(cause.message) ?? [];
        return lacks(address, command.toUpperCase(), replyText(cause));
      }
      return 'unknown';
    }
    return undefined;
  }

  up(): void {
    this.appends.up();
  }

  /** The gate lets posts pass. */
  opened(): void {
    this.appends.opened();
  }

  down(): void {
    this.appends.down();
  }

  close(): void {
    this.isClosed = true;
    this.appends.close();
  }

  private async ask<T>(question: (link: RedisLink) => Promise<T>, channel?: string): Promise<T> {
    const { link } = this;
    if (this.isClosed) throw new TransportUnavailableError('The application is closed');
    if (!link?.isUp) throw link?.error ?? new TransportUnavailableError('Redis has not been reached yet');
    const what = `${link.address} does not tell the history${channel === undefined ? '' : ` of channel ${quote(channel)}`}`;
    try {
      return await inTime(link.whileUp(question(link)), this.timeoutMs, () => {
        throw new TransportUnavailableError(`${what}: it has not answered for ${this.timeoutMs} ms`);
      });
    } catch (cause) {
      if (cause instanceof TransportUnavailableError) throw cause;
      const text = `${what}: ${isReply(cause as Error) ? '' : 'the link failed: '}${replyText(cause as Error)}`;
      throw new TransportUnavailableError(text, { cause });
    }
  }
}

function lacks(address: string, command: string, why: string): ConfigurationError {
  return new ConfigurationError(
    `Option "redis": a channel keeps a history, which needs the command ${command}; ${address} refuses it: ${why}`,
  );
}

function listOf(answer: unknown): unknown[] {
  return readList(answer, 'the answer', HISTORY_PARTS, (item) => item);
}

/** How far histories have come. One question for all of them; for a Cluster, one for each slot. */
async function endsOf(client: RedisClient, keys: readonly HistoryKeys[]): Promise<Position[]> {
  const positions: Position[] = [];
  const asked = new Map<number, number[]>();
  keys.forEach(({ part }, index) => {
    const slot = client.isCluster ? part : 0;
    const others = asked.get(slot);
    if (others === undefined) asked.set(slot, [index]);
    else others.push(index);
  });
  const ask = async (indexes: readonly number[]): Promise<void> => {
    const states = indexes.map((index) => keys[index]!.state);
    const answers = readTuple(await POSITIONS.run(client, states, []), 'the answer', states.length);
    indexes.forEach((index, place) => (positions[index] = positionOf(answers[place])));
  };
  await Promise.all([...asked.values()].map(ask));
  return positions;
}
