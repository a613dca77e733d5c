import { reservedChannel, type Channel } from '../protocol/channel.js';
import type { ChannelOptions } from '../protocol/channel-definition.js';
import { InvalidMessageError } from '../protocol/errors.js';
import type { Class } from '../protocol/message.js';
import type { Position } from '../protocol/position.js';
import {
  REVOCATIONS,
  REVOCATIONS_NAME,
  readRevocation,
  toRevocation,
  withdrawnBy,
  type Revocation,
} from '../protocol/revocation.js';
import { Confirmations } from './confirmations.js';
import { Deferred } from './deferred.js';
import type { Delivery } from './delivery.js';
import { BEGINNING, isLastPage } from './history-store.js';
import type { Hub } from './hub.js';
import { inTime } from './in-time.js';
import { isolate } from './isolate.js';
import { isBehind, isSame } from './ordered-channel.js';
import { MAX_REVOCATIONS, idOf, type KnownRevocation } from './revocation-list.js';
import { revokedAuthenticationChannel } from './revoked-channel.js';

/** The size of one read. */
const PAGE = { maxEntries: 256, maxBytes: 1024 * 1024 };
/** How long to wait before a failed read or post is repeated. In milliseconds. */
const RETRY_MS = 250;
/** How many reads may fail before the failure is reported. */
const QUIET_TRIES = 8;
/** How many reads in a row may find nothing new before a pause: anybody can claim that there is something. */
const VAIN_READS = 2;
/** The minimum time between reads that find nothing new. In milliseconds. */
const VAIN_PAUSE_MS = 100;
/** How often the position of the history is checked, roughly, in milliseconds: nobody reports its deletion. */
const LOOK_MS = 10_000;
/** How many are posted at a time. */
const MAX_POSTS = 100;

/** A revocation that may not be in the history. */
interface Untold {
  readonly known: KnownRevocation;
  /** Whether the broker accepted it. It will be read back, unless the history is lost first. */
  isPosted: boolean;
}

/**
 * Ends sessions whose authentication is revoked: on this node at once, and on every other by a message. The messages are kept in a
 * history. Each node reads it when it starts, whenever it may have missed some, and whenever something is published under its name,
 * before it continues with anything from other nodes. Only the history counts, since anybody may publish. If the history is lost, the
 * nodes write it again.
 */
export class Revocations {
  private readonly kept: Channel<Revocation> | undefined;
  private readonly confirmations: Confirmations;
  /** The channel for transports without histories: revocations reach only the nodes that hear them at that moment. */
  private plain: Channel<Revocation> | undefined = undefined;
  /** The position up to which the history is known. */
  private last: Position = BEGINNING;
  /** Whether everything from before the start is known. */
  private hasStarted = false;
  private readonly untold = new Map<string, Untold>();
  /** The read for other nodes that ask. */
  private reading: Promise<void> | undefined = undefined;
  private isTelling = false;
  private telling = Promise.resolve();
  /** How often a restore has begun. */
  private restores = 0;
  /** How many reads in a row have found nothing new, and when the latest did. */
  private vainReads = 0;
  private vainAt = 0;
  private lookTimer: NodeJS.Timeout | undefined = undefined;
  private pause: Deferred | undefined = undefined;

  constructor(private readonly hub: Hub) {
    this.confirmations = new Confirmations(hub, () => (this.reading ??= this.readSoon()));
    if (!hub.hasTransport) return;
    const { ttlMs } = hub.sessions.revocations;
    const history = { maxMessages: MAX_REVOCATIONS, ttlMs };
    if (hub.keepsHistories) this.kept = revocationsChannel(REVOCATIONS_NAME, { history });
    else this.listenPlainly();
    hub.own.onClose(() => this.close());
  }

  /**
   * From now on, messages of other nodes are delivered only after the revocations are known. Nothing goes out over a new link until
   * the history has the revocations that this node knows.
   *
   * @returns resolves when they are known; never rejects
   */
  start(): Promise<void> {
    if (this.hub.hasTransport) this.confirmations.listen();
    if (this.kept === undefined) return Promise.resolve();
    this.lookLater();
    this.hub.outboundCheck.guard(() => this.restore());
    return this.hub.gate.guard(
      (...check) => this.catchUp(...check),
      (position) => this.plain !== undefined || (position !== undefined && isBehind(this.last, position)),
    );
  }

  /**
   * @returns whether every other node that the broker knows of has applied it; if not, they learn of it as soon as possible. The sessions
   *   of this node have ended in any case
   * @throws ConfigurationError for arguments that name no user or sign-in
   */
  revoke(userId: string | number, what: unknown): Promise<boolean> {
    let revocation = toRevocation(userId, what, Date.now());
    let known = this.apply(revocation);
    for (; known === undefined; known = this.apply(revocation)) {
      // A repeat within the same millisecond; its user may have signed in again in between.
      revocation = { ...revocation, at: revocation.at + 1 };
    }
    return this.hub.hasTransport ? this.tell(known) : Promise.resolve(true);
  }

  /**
   * @param isTold - whether to post it on its public channel
   * @returns `undefined` if it is already known
   */
  private apply(revocation: Revocation, isTold = true): KnownRevocation | undefined {
    const { sessions, reporter } = this.hub;
    const known = sessions.revocations.add(revocation);
    if (known === undefined) return undefined;
    if (isTold) isolate(reporter, 'What is told of a revocation', () => this.announce(revocation));
    sessions.revoke(revocation);
    return known;
  }

  private announce(revocation: Revocation): void {
    const { hub } = this;
    const withdrawn = withdrawnBy(revocation);
    // Listeners may send it to a browser.
    const { kind } = withdrawn;
    const name = `RevokedAuthentication${kind[0]!.toUpperCase()}${kind.slice(1)}`;
    hub.types.register(withdrawn.constructor as Class, name);
    void hub.post(revokedAuthenticationChannel(revocation.userId), withdrawn);
  }

  private take({ position, message, postedAt, origin }: Delivery, isTold: boolean): void {
    // A revocation that this node posted without a history has already taken effect.
    if (origin !== 'global') return;
    try {
      const revocation = readRevocation(message, postedAt);
      if (position !== undefined) this.untold.delete(idOf(revocation));
      this.apply(revocation, isTold);
    } catch (error) {
      this.hub.reporter.messageRejected({ channel: REVOCATIONS, error: error as Error });
    }
  }

  /** Reads revocations that this node may have missed. */
  private async catchUp(isWanted: () => boolean, wasInterrupted: boolean): Promise<void> {
    const { hub, last } = this;
    await hub.whenHeard(REVOCATIONS);
    if (!wasInterrupted && this.vainReads >= VAIN_READS) await waitFor(this.vainAt + VAIN_PAUSE_MS - performance.now());
    await this.readAll(isWanted);
    if (!isWanted()) return;
    this.vainReads = isSame(last, this.last) ? this.vainReads + 1 : 0;
    this.vainAt = performance.now();
    this.hasStarted = true;
    void this.tellAnew(wasInterrupted);
  }

  /**
   * Makes sure that the history, which may be lost, has what this node knows. A node that only posts, since it may not subscribe, needs
   * to hear nothing for that.
   */
  private async restore(): Promise<void> {
    const turn = ++this.restores;
    const isWanted = (): boolean => turn === this.restores && !this.hub.own.closed;
    await this.readAll(isWanted);
    if (isWanted() && this.plain === undefined) await this.tellAnew(true);
  }

  /** For nodes that ask, who may be anybody: messages do not wait for it, and it comes at most once in {@link VAIN_PAUSE_MS}. */
  private async readSoon(): Promise<void> {
    await waitFor(VAIN_PAUSE_MS);
    this.reading = undefined;
    if (this.plain === undefined) await this.readAll(() => !this.hub.own.closed);
  }

  /** Tries until it succeeds, cannot succeed, or nobody waits for it. */
  private async readAll(isWanted: () => boolean): Promise<void> {
    for (let tries = 1; isWanted(); tries++) {
      try {
        return await this.read(isWanted);
      } catch (error) {
        if (!(await this.mayTryAgain(error as Error, tries))) return;
        await waitFor(RETRY_MS);
      }
    }
  }

  /** @param wasInterrupted - what was posted before may be lost */
  private tellAnew(wasInterrupted: boolean): Promise<void> {
    if (wasInterrupted) for (const each of this.untold.values()) each.isPosted = false;
    this.pause?.resolve();
    return this.tellAll();
  }

  private async read(isWanted: () => boolean): Promise<void> {
    const { hub } = this;
    for (;;) {
      const { last } = this;
      const page = await hub.readNow(REVOCATIONS, last, PAGE);
      if (!isWanted()) return;
      const { gap, deliveries, next, end } = page;
      // Redis has lost some or all of them, but the nodes still have them.
      const isLost = (gap !== undefined && gap !== 'trimmed') || end.epoch === BEGINNING.epoch;
      if (isLost || (end.epoch === last.epoch && end.offset < last.offset)) this.noteLost();
      for (const delivery of deliveries) this.take(delivery, this.hasStarted);
      const isLast = isLastPage(page);
      this.last = isLast ? end : next;
      if (isLast) return;
    }
  }

  private lookLater(): void {
    this.lookTimer = setTimeout(() => void this.look(), LOOK_MS * (0.75 + Math.random() / 2)).unref();
  }

  /** Checks whether the history is still where it was when it was read. */
  private async look(): Promise<void> {
    const { hub } = this;
    try {
      if (!isSame(await hub.positionOf(REVOCATIONS), this.last)) hub.gate.ring();
    } catch {
      // The link is down, as the status shows. When it is back, everything is read.
    }
    if (!hub.own.closed) this.lookLater();
  }

  private noteLost(): void {
    for (const known of this.hub.sessions.revocations.all) this.untold.set(known.id, { known, isPosted: false });
  }

  /** @returns whether to repeat the failed read; if not, the node continues without it */
  private async mayTryAgain(error: Error, tries: number): Promise<boolean> {
    const { reporter } = this.hub;
    if (error instanceof InvalidMessageError) {
      const text = `Revocations cannot be read, so some that were made while this server was cut off may not apply here: ${error.message}`;
      reporter.warn?.('revocations unreadable', text);
      return false;
    }
    const problem = await this.hub.historyProblem();
    if (problem === undefined) {
      const text = `Messages from other servers wait, since revocations cannot be read: ${error.message}`;
      if (tries % QUIET_TRIES === 0) reporter.warn?.('revocations unread', text);
      return true;
    }
    this.listenPlainly();
    const text = `Revocations are not stored, so a server that is cut off misses them and lets revoked sign-ins in again: ${problem.message}`;
    reporter.warn?.('revocations not kept', text);
    return false;
  }

  private listenPlainly(): void {
    if (this.plain !== undefined) return;
    const { hub } = this;
    this.plain = revocationsChannel(`${REVOCATIONS_NAME}/now`);
    hub.tap(hub.heard(this.plain), (delivery) => this.take(delivery, true), hub.own, 'revocations');
  }

  private async tell(known: KnownRevocation): Promise<boolean> {
    const untold = { known, isPosted: true };
    this.untold.set(known.id, untold);
    if (await this.post(untold)) return this.confirmations.confirm(known.id);
    void this.tellAll();
    return false;
  }

  private async post(untold: Untold): Promise<boolean> {
    const { hub, plain, kept } = this;
    const { id, revocation } = untold.known;
    untold.isPosted = true;
    try {
      const isTold = await (plain === undefined
        ? hub.post(kept!, revocation, { id })
        : hub.post(plain, revocation, { scope: 'auto' }));
      untold.isPosted = isTold;
      // The transport does not report whether it arrives.
      if (isTold && plain !== undefined) this.untold.delete(id);
      return isTold;
    } catch (error) {
      // It is too long for a message, and would be the next time too.
      hub.reporter.callbackFailed({ callback: 'Telling other servers of a revocation', error });
      this.untold.delete(id);
      return false;
    }
  }

  /** Tells the other nodes all that they do not know yet, as soon as possible. Resolves when that is done. */
  private tellAll(): Promise<void> {
    if (!this.isTelling) this.telling = this.tellInTurn();
    return this.telling;
  }

  private async tellInTurn(): Promise<void> {
    this.isTelling = true;
    while (!this.hub.own.closed) {
      const due = this.due();
      if (due.length === 0) break;
      const told = await Promise.all(due.map((each) => this.post(each)));
      if (told.every(Boolean)) continue;
      this.pause = new Deferred();
      await inTime(this.pause.promise, RETRY_MS, () => undefined, { unref: true });
    }
    this.isTelling = false;
  }

  private due(): Untold[] {
    const due: Untold[] = [];
    for (const [id, untold] of this.untold) {
      if (!this.hub.sessions.revocations.has(id)) this.untold.delete(id);
      else if (!untold.isPosted) due.push(untold);
      if (due.length === MAX_POSTS) break;
    }
    return due;
  }

  private close(): void {
    clearTimeout(this.lookTimer);
    this.pause?.resolve();
    const count = [...this.untold.values()].filter(({ isPosted }) => !isPosted).length;
    if (count === 0) return;
    const text = `This server shuts down before it could send ${count} revocations to the other servers; they are not applied there`;
    this.hub.reporter.warn?.('revocations untold', text);
  }
}

function revocationsChannel(name: string, options?: ChannelOptions): Channel<Revocation> {
  return reservedChannel<Revocation>(name, undefined, options) as Channel<Revocation>;
}

async function waitFor(ms: number): Promise<void> {
  if (ms > 0) await new Promise<void>((resolve) => void setTimeout(resolve, ms).unref());
}
