import { membersOf, type RedisClient } from './redis-client.js';

/** After this many beats without an answer, a member counts as gone: there are others. */
const SILENT_BEATS = 1;

/**
 * The Cluster member that posts go through. Any member would forward them to all others, but not in order between members. So posts use
 * one member as long as it answers, then another one.
 */
export class ClusterMember {
  private chosen: RedisClient | undefined = undefined;
  private unansweredBeats = 0;
  // Members that were left, in that order: they are tried again after all others.
  private readonly left = new Map<string, number>();
  private departures = 0;

  /**
   * @param cluster - an ioredis `Cluster`
   * @param lost - called when another member is used from now on; unanswered posts will not be answered
   */
  constructor(
    private readonly cluster: RedisClient,
    private readonly lost: () => void,
  ) {}

  /** `undefined`: no member is known. */
  get current(): RedisClient | undefined {
    return this.chosen ?? this.choose();
  }

  /** Checks whether the member answers, and leaves it if not. Call it at intervals. */
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

  /** Switches to another member. ioredis reconnects to this one when it next reads the table of slots. */
  leave(): void {
    const { chosen } = this;
    if (chosen === undefined) return;
    this.forget(chosen);
    chosen.disconnect();
    this.lost();
  }

  /** Forgets the member without notice. */
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
