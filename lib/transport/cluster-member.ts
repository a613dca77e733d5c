import { membersOf, type RedisClient } from './redis-client.js';

/** After so many beats without an answer a member is taken for gone: there are others. */
const SILENT_BEATS = 1;

/**
 * The member of a Cluster that posts go through. Any would pass them on to all others, but not in order, so it is one at a
 * time: the same as long as it answers, another one as soon as it does not.
 */
export class ClusterMember {
  private chosen: RedisClient | undefined = undefined;
  private unansweredBeats = 0;
  // Members that were left, in that order: tried again after all others.
  private readonly left = new Map<string, number>();
  private departures = 0;

  /**
   * @param cluster - an ioredis `Cluster`
   * @param lost - told when posts go through another member from now on, and what was unanswered will not be
   */
  constructor(
    private readonly cluster: RedisClient,
    private readonly lost: () => void,
  ) {}

  /** `undefined`: none is known. */
  get current(): RedisClient | undefined {
    return this.chosen ?? this.choose();
  }

  /** Looks whether the member answers, and leaves it if not. To be called at intervals. */
  beat(): void {
    const { current } = this;
    if (current === undefined) return;
    if (this.unansweredBeats >= SILENT_BEATS) return this.leave();
    this.unansweredBeats++;
    const answered = (): void => {
      if (this.chosen === current) this.unansweredBeats = 0;
    };
    current.ping().then(answered, () => undefined);
  }

  /** Goes on with another member; ioredis connects to this one again when it next reads the table of slots. */
  leave(): void {
    const { chosen } = this;
    if (chosen === undefined) return;
    this.forget(chosen);
    chosen.disconnect();
    this.lost();
  }

  /** Forgets the member without telling anybody. */
  close(): void {
    this.chosen?.off('close', this.onClose);
    this.chosen = undefined;
  }

  private choose(): RedisClient | undefined {
    const members = membersOf(this.cluster, 'master').filter(isUsable);
    const rank = (member: RedisClient): number => (this.left.get(keyOf(member)) ?? 0) * 2 + Number(!isReady(member));
    const next = members.toSorted((a, b) => rank(a) - rank(b))[0];
    this.chosen = next;
    this.unansweredBeats = 0;
    next?.on('close', this.onClose);
    return next;
  }

  private forget(member: RedisClient): void {
    this.left.set(keyOf(member), ++this.departures);
    this.close();
  }

  private readonly onClose = (): void => {
    if (this.chosen !== undefined) this.forget(this.chosen);
    this.lost();
  };
}

function isReady({ status }: RedisClient): boolean {
  return status === 'ready';
}

function isUsable({ status }: RedisClient): boolean {
  return status !== 'end' && status !== 'close' && status !== 'reconnecting';
}

function keyOf(member: RedisClient): string {
  const { host, port } = member.options as { host?: string; port?: number };
  return `${host}:${port}`;
}
