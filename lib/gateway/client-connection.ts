import { randomUUID } from 'node:crypto';
import { Subscription, type Observable } from 'rxjs';
import { whenHeard } from '../core/heard.js';
import type { Session } from '../core/session.js';
import type { SessionObserver } from '../core/session-close-reason.js';
import { DirectStream, type Reader } from '../core/stream.js';
import type { AuthenticationInfo } from '../protocol/authentication.js';
import type { ChannelAnswer, WithdrawalReason } from '../protocol/gateway.js';
import type { Batch } from '../sse/batch.js';
import { isFeedReader, type FeedReader } from '../sse/feed.js';
import type { Frame } from '../sse/frame.js';
import { positionOwner } from './admission.js';
import { CatchUp, type HeldHistory } from './catch-up.js';
import { NO_RULES, type ChannelGrant, type RulesByName } from './channel-rule.js';
import type { ClientFeed } from './client-feed.js';
import type { Claim } from './claim.js';
import { ClientForm } from './client-form.js';
import type { ConnectionContext } from './connection-context.js';
import { ExpiryNotice } from './expiry-notice.js';
import { grantOf } from './grants.js';
import { findHistories, holdFeed, isOfChannel, isOfHistory, placeOf, within, type Enter, type Held } from './held.js';
import { NativeForm } from './native-form.js';
import type { Returned } from './recovery-wire.js';
import type { Renewal } from './renewal.js';
import type { ListenerReplay } from './replay-request.js';
import { enterAnew, type Entrance } from './resume.js';
import { withoutLost, type Opening, type StreamForm, type StreamOutput } from './stream-form.js';

/** One client's stream and its subscriptions, which may change while the stream is open. */
export class ClientConnection implements SessionObserver, StreamOutput {
  /** Unguessable, and contains the id of this node. */
  readonly id: string;
  /** The client's owner id; see {@link positionOwner}. */
  readonly owner: string;
  private readonly held = new Map<string, Held>();
  /** Receives the output of the stream, once there is a stream. */
  private reader: (Reader<unknown> & Partial<FeedReader>) | undefined = undefined;
  private form: StreamForm | undefined = undefined;
  /** Whether the client knows the outcome of its request. */
  private hasBegun = false;
  /** Set once it has channels with history. */
  private catchUp: CatchUp | undefined = undefined;
  /** Set if its sign-in expires and its client can renew it. */
  private notice: ExpiryNotice | undefined = undefined;
  /** Changes that arrived before the beginning. */
  private waiting: (() => void)[] | undefined = undefined;

  constructor(
    private readonly context: ConnectionContext,
    readonly session: Session,
  ) {
    this.id = `${context.hub.node}.${randomUUID()}`;
    this.owner = positionOwner(session.auth);
    session.onClose(this);
  }

  sessionClosed(): void {
    this.unsubscribe(this.names);
    this.noteBegun();
  }

  /** See {@link StreamOutput}. */
  send(sent: Frame | Batch): void {
    this.reader?.next(sent);
  }

  /** The identity by which its client is recognised when it comes back, here or on another node. */
  get returnsAs(): Returned {
    return [this.form?.returnsAs ?? this.id, this.owner];
  }

  /** Whether its client may need this node's memory when it is back elsewhere. Histories are read without it; a whole template has none. */
  get needsNode(): boolean {
    return this.hasBegun && [...this.held.values()].some(isOfChannel);
  }

  /** Whether it has a channel or template. */
  has(name: string): boolean {
    return this.held.has(name);
  }

  /** What granted a channel or template that it has. */
  grantFor(channel: string): ChannelGrant {
    const rule = this.held.get(channel)?.rule;
    const auth = this.context.grants.authOf(this, channel) ?? this.session.auth;
    return { channel, auth, ...(rule !== undefined && { rule }) };
  }

  /** The channels and templates that it has. */
  get names(): string[] {
    return [...this.held.keys()];
  }

  /**
   * The output of the stream: missed messages, then the new positions, then live messages. For one reader.
   *
   * @param answers - to the requested channels; those without an error may be subscribed to
   * @param claims - how far the client says that it has read them
   * @param rules - the rules that granted them
   */
  stream(
    answers: readonly ChannelAnswer[],
    claims: ReadonlyMap<string, Claim>,
    opening: Opening,
    rules: RulesByName = NO_RULES,
  ): Observable<unknown> {
    return new DirectStream(
      (reader) => {
        if (this.session.closed) {
          reader.complete();
        } else {
          this.reader = reader;
          void this.begin(answers, claims, opening, rules);
        }
        // Only the session ends it, and that also ends the subscriptions.
        return Subscription.EMPTY;
      },
      () => (error) =>
        this.context.hub.reporter.callbackFailed({ callback: 'The stream of a client connection', error }),
    );
  }

  /**
   * Subscribes to channels that this client may use; each at most once. The stream reports their positions.
   *
   * @param answers - to the requested channels; those with an error stay unchanged
   * @param claims - how far the client says that it has read them
   * @param replays - the earlier messages to send to listeners of the client
   * @param by - the sign-in that they were granted to; by default that of the stream
   * @param rules - the rules that granted them
   * @returns the answers, once no later post to these channels can be missed
   */
  async subscribe(
    answers: readonly ChannelAnswer[],
    claims: ReadonlyMap<string, Claim> = new Map(),
    replays: readonly ListenerReplay[] = [],
    by: AuthenticationInfo | null = this.session.auth,
    rules: RulesByName = NO_RULES,
  ): Promise<ChannelAnswer[]> {
    if (!this.hasBegun) await new Promise<void>((resolve) => (this.waiting ??= []).push(resolve));
    const grant = grantOf(by, this.session.auth);
    // Checked in the turn in which the grants are noted, so that later events find them.
    if (grant !== undefined && !this.context.grants.isValid(grant)) {
      return answers.map((answer) => withoutLost(answer, () => false));
    }
    const asked = this.hold(answers, claims, rules, grant);
    const all = [...asked.added, ...asked.had];
    await whenHeard(
      this.context.hub,
      all.map(({ feed }) => feed),
    );
    const histories = asked.added.filter(isOfHistory);
    const channels = asked.added.filter(isOfChannel);
    const back = channels.filter(({ claim }) => claim !== undefined);
    this.enter(
      channels.filter(({ claim }) => claim === undefined).map((held) => [held, () => enterAnew(held)]),
      asked.had,
    );
    if (back.length > 0) void this.recover(back);
    // Before that, the position after which they get all messages is unknown.
    if (histories.length > 0) await this.recover(histories);
    this.replay(replays);
    // Some may have been withdrawn meanwhile.
    return asked.answers.map((answer) => withoutLost(answer, (name) => this.held.has(name)));
  }

  /**
   * Ends subscriptions. Names without one are ignored.
   *
   * @returns the subscriptions that it ended
   */
  unsubscribe(names: readonly string[]): string[] {
    return names.filter((name) => {
      const held = this.held.get(name);
      if (held === undefined) return false;
      this.held.delete(name);
      this.context.grants.forget(this, name);
      if (held.place !== undefined) held.feed.leave(held.place);
      this.context.feeds.release(held.feed, this.owner || this.id);
      return true;
    });
  }

  /**
   * Ends subscriptions against the client's wish, and tells the client.
   *
   * @returns whether there were any
   */
  withdraw(names: readonly string[], reason: WithdrawalReason): boolean {
    const lost = this.unsubscribe(names);
    // Otherwise the first event lists the channels that it has.
    if (lost.length > 0 && this.hasBegun) this.form?.withdrawn(lost, reason);
    return lost.length > 0;
  }

  /**
   * Continues with a later sign-in of its user. Channels that this sign-in may not use end, and the client is told.
   *
   * @returns whether it does
   */
  renew(auth: AuthenticationInfo, renewal: Renewal): boolean {
    const before = this.session.auth;
    if (!this.session.renew(auth)) return false;
    this.notice?.plan();
    this.context.grants.renewed(this, before!, renewal);
    for (const name of renewal.granted) this.noteRule(name, renewal.rules);
    return true;
  }

  private async begin(
    asked: readonly ChannelAnswer[],
    claims: ReadonlyMap<string, Claim>,
    opening: Opening,
    rules: RulesByName,
  ): Promise<void> {
    const { hub, ends } = this.context;
    const granted = asked.map((answer) => withoutLost(answer, (name) => !ends.has(this.id, name)));
    const { answers, added } = this.hold(granted, claims, rules);
    this.form = this.formOf(opening, answers);
    this.notice = ExpiryNotice.of(this.session, this.form, hub.sessions.wheel);
    const { from, awayMs = 0, past } = opening.form === 'client' ? opening : { from: undefined };
    const replays = past?.replays ?? [];
    if (replays.length > 0) (this.waiting ??= []).push(() => this.replay(replays));
    await whenHeard(
      hub,
      added.map(({ feed }) => feed),
    );
    const channels = added.filter(isOfChannel);
    if (channels.length < added.length || channels.some(({ claim }) => claim !== undefined)) {
      await this.recover(added, from, performance.now() - awayMs);
    } else {
      this.enter(channels.map((held) => [held, () => enterAnew(held)]));
    }
  }

  private formOf(opening: Opening, answers: readonly ChannelAnswer[]): StreamForm {
    const { owner } = this;
    const { admissions, heartbeatMs } = this.context;
    const greeting = { connection: this.id, heartbeatMs, answers };
    if (opening.form === 'client') {
      const told = { ...greeting, replays: opening.past?.replayAnswers ?? [] };
      this.replace(opening.from);
      // A stream that takes batches gets them directly. With thousands of clients, any object on the way has left the CPU cache by the next
      // message, and loading it costs more than the call.
      const { reader } = this;
      return new ClientForm(admissions, owner, this, told, isFeedReader(reader) ? reader : undefined);
    }
    const { names, proof } = opening;
    this.replace(proof?.streamOn(owner, admissions));
    return new NativeForm(admissions, owner, this, names, proof?.position, greeting);
  }

  /** Once this connection has begun, its client cannot return from the previous one. */
  private replace(earlier: string | undefined): void {
    if (earlier === undefined) return;
    const { owner } = this;
    (this.waiting ??= []).push(() => this.session.closed || this.context.returned([[earlier, owner]]));
  }

  /**
   * Adds the channels that the client may use.
   *
   * @param grant - see {@link grantOf}
   */
  private hold(
    answers: readonly ChannelAnswer[],
    claims: ReadonlyMap<string, Claim>,
    rules: RulesByName,
    grant?: AuthenticationInfo,
  ) {
    const { grants } = this.context;
    const added: Held[] = [];
    const had: Held[] = [];
    const result = answers.map((answer): ChannelAnswer => {
      const { channel, error } = answer;
      if (error !== undefined) return answer;
      const known = this.held.get(channel);
      if (known !== undefined) {
        had.push(known);
        // A grant by the stream's own sign-in needs no entry, and outlives all others.
        if (grant === undefined) grants.forget(this, channel);
        else if (grants.has(this, channel)) grants.note(this, channel, grant);
        else return answer;
        this.noteRule(channel, rules);
        return answer;
      }
      if (this.held.size >= this.context.maxSubscriptions) return { channel, error: 'LIMIT_EXCEEDED' };
      const feed = this.use(channel);
      if (feed === undefined) return { channel, error: 'CHANNEL_DENIED' };
      const held = holdFeed(feed, claims.get(channel), this.owner);
      this.held.set(channel, held);
      this.noteRule(channel, rules);
      if (grant !== undefined) grants.note(this, channel, grant);
      added.push(held);
      return answer;
    });
    return { answers: result, added, had };
  }

  private noteRule(channel: string, rules: RulesByName): void {
    const held = this.held.get(channel);
    const rule = rules.get(channel);
    if (held !== undefined) held.rule = rule && this.context.rules.same(rule);
  }

  /** @returns `undefined` if the channel cannot be listened to, which has been reported */
  private use(channel: string): ClientFeed | undefined {
    try {
      return this.context.feeds.use(channel);
    } catch (error) {
      this.context.hub.reporter.messageRejected({ channel, error: error as Error });
      return undefined;
    }
  }

  /** Finds missed messages, then lets the client in. @param from, leftAt - see {@link Recovery.findAll} */
  private async recover(back: readonly Held[], from?: string, leftAt = performance.now()): Promise<void> {
    const { recovery, queue, feeds } = this.context;
    const channels = back.filter(isOfChannel);
    const [found, histories] = await Promise.all([
      recovery.findAll(channels, from, leftAt),
      findHistories(back.filter(isOfHistory), feeds.memory.maxMissedBytes),
    ]);
    const entering = new Map<Held, Enter>([
      ...channels.map((held, index) => [held, found[index]!] as const),
      ...histories,
    ]);
    queue.add(() => this.enter(back.map((held) => [held, entering.get(held)!])));
  }

  /** Lets the client in, in one turn and without a gap: missed messages, the new positions, then live messages. */
  private enter(found: readonly (readonly [Held, Enter])[], had: readonly Held[] = []): void {
    if (this.session.closed) return;
    const { form } = this;
    const isHeld = (held: Held): boolean => this.held.get(held.feed.name) === held;
    const entering = found.filter(([held]) => isHeld(held));
    // From here on, all readers are at the ends of the logs.
    entering[0]?.[0].feed.settle();
    const { maxMissedBytes } = this.context.feeds.memory;
    const entrances = within(
      maxMissedBytes,
      entering.map(([held, enter]) => [held, enter()] as const),
    );
    for (const [, entrance] of entrances) form?.missed(entrance);
    form?.goOn(
      entrances.map(([, entrance]) => entrance),
      had.filter(isHeld).flatMap((held) => {
        held.feed.settle();
        return placeOf(held) ?? [];
      }),
    );
    for (const [held, entrance] of entrances) {
      if ('admission' in entrance) form?.rest(entrance);
      this.goOn(held, entrance);
    }
    this.noteBegun();
  }

  /** Sends the client live messages. */
  private goOn(held: Held, entrance: Entrance): void {
    const { form } = this;
    if (form === undefined) return;
    if (isOfHistory(held)) {
      if ('at' in entrance) this.catchingUp(form).goOn(held, entrance);
    } else if ('admission' in entrance) {
      held.claim = undefined;
      held.admission = entrance.admission;
      held.place = form.placeIn(held.feed.name);
      held.feed.join(held.place);
    }
  }

  /** Sends listeners of the client earlier messages of channels that it has. */
  private replay(replays: readonly ListenerReplay[]): void {
    const { form } = this;
    for (const replay of replays) {
      const held = this.held.get(replay.channel);
      if (form !== undefined && held !== undefined && isOfHistory(held)) this.catchingUp(form).replay(held, replay);
    }
  }

  private catchingUp(form: StreamForm): CatchUp {
    const { queue, hub, maxSubscriptions } = this.context;
    const has = (asked: HeldHistory): boolean => this.held.get(asked.feed.name) === asked;
    const drained = async (): Promise<void> => this.reader?.drained?.();
    return (this.catchUp ??= new CatchUp({ form, has, drained }, queue, hub.reporter, maxSubscriptions));
  }

  private noteBegun(): void {
    this.hasBegun = true;
    const { waiting = [] } = this;
    this.waiting = undefined;
    for (const resume of waiting) resume();
  }
}
