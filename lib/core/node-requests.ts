import { randomUUID } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { firstValueFrom } from 'rxjs';
import { Channel, reservedChannel } from '../protocol/channel.js';
import { describe } from '../protocol/channel-name.js';
import { LimitExceededError, TransportUnavailableError } from '../protocol/errors.js';
import { whenHeard } from './heard.js';
import type { Hub } from './hub.js';
import { inTime } from './in-time.js';
import { addLast } from './keep-last.js';
import type { Listener } from './listener.js';
import { failed, silent, unavailable } from './node-failure.js';
import { isNodeId, readNodePacket, type NodeCall, type NodePacket } from './node-packet.js';
import { Poll, type Answers } from './node-poll.js';
import { NodePresence } from './node-presence.js';

/** How many nodes that have answered are remembered. */
const MAX_KNOWN = 1_000;
/** How long to wait for answers if nobody knows how many will come. */
const UNCOUNTED_MS = 1_500;
/** How long the broker, which has answered before, may take to count once more who hears a name. */
const COUNT_MS = 250;
/** How often a question is sent again. It or its answer is lost if one of the two nodes has just lost its connection to the broker. */
const REPEAT_MS = 500;

interface Pending {
  /** The node that is asked, if it is one alone. */
  readonly node: string | undefined;
  readonly resolve: (body: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly timers: readonly NodeJS.Timeout[];
}

/**
 * Sends questions to one node of the cluster, or to all of them, as messages. Its timers keep the process alive: an application that
 * shuts down waits for answers, and a transport may have nothing else that keeps it alive.
 */
export class NodeRequests {
  private readonly pending = new Map<string, Pending>();
  private readonly polls = new Map<string, Poll>();
  /** The questions of other nodes that this one is answering. */
  private readonly answering = new Set<string>();
  private readonly presence: NodePresence;
  /** Nodes that answered their latest direct question, the latest at the end. */
  private readonly known = new Set<string>();
  private lastBarrier: Promise<boolean> = Promise.resolve(true);
  private nextBarrier: Promise<boolean> | undefined = undefined;
  private byEverybody: Listener | undefined = undefined;
  /** All nodes hear this channel. */
  private readonly everybody: Channel<NodePacket>;

  /**
   * @param answer - gets the question of another node, unchecked, and returns plain JSON values or a promise of them
   * @param under - what the names of its channels begin with: nodes hear only requests under the same name
   */
  constructor(
    private readonly hub: Hub,
    private readonly answer: (body: unknown) => unknown,
    private readonly under = '',
  ) {
    this.everybody = reservedChannel<NodePacket>(`${under}nodes`) as Channel<NodePacket>;
    this.presence = new NodePresence(hub, (node) => this.channelOf(node).name, this.askAbout.bind(this));
  }

  /** Starts to answer other nodes, and to hear their answers. */
  listen(): readonly Listener[] {
    const { hub } = this;
    const listeners = [this.channelOf(hub.node), this.everybody].map((channel) =>
      hub.listen(channel, (packet: unknown) => this.receive(packet), hub.own, 'requests of other nodes'),
    );
    listeners[0]!.onSessionClose = () => this.abandon();
    this.byEverybody = listeners[1];
    return listeners;
  }

  /**
   * @param body - plain JSON values
   * @param leftAt - for a question that changes nothing there: it is asked again each half second until it answers, or is gone for a client
   *   that left it then; see {@link NodePresence.isThereFor}
   * @returns the answer of the other node, unchecked
   * @throws NodeSilentError (rejects) if no answer comes in time, or that node is gone or failed to answer
   * @throws TransportUnavailableError (rejects) if the broker does not take the question
   * @throws LimitExceededError (rejects) if the question or the answer is longer than `limits.maxMessageBytes`
   */
  async ask(node: string, body: unknown, timeoutMs: number, leftAt?: number): Promise<unknown> {
    if (!isNodeId(node)) throw silent(`${describe(node)} is no server's id`);
    if (this.presence.hasLeft(node)) throw silent(`node ${node} has left`);
    const packet = { kind: 'question', id: randomUUID(), from: this.hub.node, body } as const;
    try {
      const failure = `node ${node} did not answer`;
      const answer = await this.request(this.channelOf(node), packet, timeoutMs, failure, node, leftAt);
      addLast(this.known, node, MAX_KNOWN);
      return answer;
    } catch (error) {
      if (error instanceof TransportUnavailableError) this.known.delete(node);
      throw error;
    }
  }

  /** Whether a node answered the last {@link ask}. */
  knows(node: string): boolean {
    return this.known.has(node);
  }

  /**
   * Whether there is any other node. Never rejects. Call it when this node leaves: from then on, this node is not counted.
   *
   * @param timeoutMs - how long they, and the broker, may take to answer; after that, the broker's count decides
   */
  async hasOthers(timeoutMs: number): Promise<boolean> {
    const until = performance.now() + timeoutMs;
    const packet = { kind: 'call', id: randomUUID(), from: this.hub.node } as const;
    this.byEverybody?.unsubscribe();
    const count = (ms: number) => inTime(this.hub.hearers(this.everybody.name), ms, () => 'late' as const);
    const first = await count(timeoutMs);
    // A broker that has not answered by now passes on no question either.
    if (first === 0 || first === 'late') return false;
    try {
      await this.request(this.everybody, packet, Math.max(1, until - performance.now()), 'no other node answered');
      return true;
    } catch {
      // They may be busy with the clients of this node. The first count may contain this node.
      const second = await count(COUNT_MS);
      return second === 'late' ? (first ?? 0) > 1 : (second ?? 0) > 0;
    }
  }

  /**
   * Tells the other nodes that this one has left for good, and which others have: nobody needs to wait for it any more. Call it after its
   * last answer, when the broker has all posts that its clients have read. Does nothing if the broker is away. Never rejects.
   */
  async leave(): Promise<void> {
    const { hub } = this;
    try {
      const { state } = await firstValueFrom(hub.status);
      if (!hub.hasTransport || state !== 'ready') return;
      const left = [hub.node, ...this.presence.lastLeft];
      await this.send(this.everybody, { kind: 'call', id: randomUUID(), from: hub.node, left });
    } catch {
      // The hub is closed. The others wait for this node, then.
    }
  }

  /**
   * Like {@link ask}, but asks a node only if it is there or soon comes back.
   *
   * @throws as {@link ask}, and NodeSilentError (rejects) if that node hears no requests for a while
   */
  async askIfThere(node: string, body: unknown, timeoutMs: number, leftAt?: number): Promise<unknown> {
    const isThere = (): Promise<boolean> =>
      leftAt === undefined ? this.presence.isThere(node) : this.presence.isThereFor(node, leftAt);
    if (isNodeId(node) && !(await isThere())) throw silent(`node ${node} is not there`);
    return this.ask(node, body, timeoutMs, leftAt);
  }

  /** See {@link NodePresence.isThereFor}. Never rejects. */
  async isThereFor(node: string, leftAt: number): Promise<boolean> {
    return !isNodeId(node) || this.presence.isThereFor(node, leftAt);
  }

  /**
   * Asks all other nodes that listen.
   *
   * @param body - plain JSON values
   * @param timeoutMs - how long they may take to answer
   * @param name - a name that all nodes subscribe to, those of earlier versions too: they count, and have to answer as well
   * @throws LimitExceededError (rejects) if the question is longer than `limits.maxMessageBytes`
   */
  async askOthers(body: unknown, timeoutMs: number, name = this.everybody.name): Promise<Answers> {
    const { hub } = this;
    if (!hub.hasTransport) return { bodies: [], areComplete: true };
    const { interruptions } = hub.gate;
    const until = performance.now() + timeoutMs;
    const left = (): number => Math.max(0, until - performance.now());
    const hasPassed = (): Promise<boolean> => inTime(this.barrier(), left(), () => false);
    // A broker does not count this node while it is not subscribed: another node would be taken for it.
    const wasCounted = await hasPassed();
    const { bodies, areComplete } = await this.poll({ kind: 'question', body }, left());
    // One may have come meanwhile.
    const areAll = async (): Promise<boolean> => ((await this.othersWho(name)) ?? Infinity) <= bodies.length;
    const isCounted = async (): Promise<boolean> => (await hasPassed()) && hub.gate.interruptions === interruptions;
    return { bodies, areComplete: wasCounted && areComplete && (await areAll()) && (await isCounted()) };
  }

  /**
   * Waits until this node has heard everything that the broker accepted before the call. Concurrent callers share one wait.
   *
   * @returns `false`, without waiting longer, if the broker is away
   */
  barrier(): Promise<boolean> {
    // A barrier that is already under way may have started too early.
    const begin = (): Promise<boolean> => {
      this.nextBarrier = undefined;
      return (this.lastBarrier = this.passBarrier());
    };
    return (this.nextBarrier ??= this.lastBarrier.then(begin, begin));
  }

  /** @param isEnough - whether the body of an answer makes further ones needless */
  private async poll(
    asked: { readonly kind: 'question'; readonly body: unknown } | { readonly kind: 'call'; readonly of: string },
    timeoutMs: number,
    isEnough: (body: unknown) => boolean = () => false,
  ): Promise<Answers> {
    const { hub } = this;
    const others = await this.othersWho(this.everybody.name);
    if (others !== undefined && others <= 0) return { bodies: [], areComplete: true };
    const id = randomUUID();
    const poll = new Poll(others, isEnough);
    this.polls.set(id, poll);
    try {
      if (!(await this.send(this.everybody, { ...asked, id, from: hub.node }))) poll.end();
      await inTime(poll.over.promise, others === undefined ? Math.min(timeoutMs, UNCOUNTED_MS) : timeoutMs, nextTurn);
      return poll;
    } finally {
      this.polls.delete(id);
    }
  }

  /** How many other nodes hear a name that all of them hear; `undefined`: unknown. */
  private async othersWho(name: string): Promise<number | undefined> {
    const hearers = await this.hub.hearers(name);
    const isThisOne = name !== this.everybody.name || this.byEverybody?.closed === false;
    return hearers === undefined || !isThisOne ? hearers : hearers - 1;
  }

  private request(
    channel: Channel<NodePacket>,
    packet: NodePacket,
    timeoutMs: number,
    failure: string,
    node?: string,
    leftAt?: number,
  ): Promise<unknown> {
    const { id } = packet;
    return new Promise((resolve, reject) => {
      const tooLate = (): void => this.fail(id, silent(`${failure} within ${timeoutMs} ms`));
      // One turn later: if this process was busy all the time, the answer may have arrived unread.
      const timer = setTimeout(() => setImmediate(tooLate), timeoutMs);
      // The first one shows whether it can be sent.
      const again = (): void => {
        void this.send(channel, packet).catch(() => {});
        void this.failIfGone(id, node!, leftAt!);
      };
      const timers = leftAt === undefined ? [timer] : [timer, setInterval(again, REPEAT_MS)];
      this.pending.set(id, { node, resolve, reject, timers });
      this.send(channel, packet).then(
        (isAccepted) => {
          if (!isAccepted) this.fail(id, unavailable('the broker did not accept the request'));
        },
        (error: unknown) => this.fail(id, error),
      );
    });
  }

  private async failIfGone(id: string, node: string, leftAt: number): Promise<void> {
    if (!(await this.presence.isThereFor(node, leftAt))) this.fail(id, silent(`node ${node} is gone`));
  }

  private async passBarrier(): Promise<boolean> {
    // The broker confirms a subscription after everything it sent before.
    const channel = reservedChannel(`barrier/${randomUUID()}`);
    const listener = this.hub.listen(channel, () => {}, this.hub.own, 'a barrier');
    let isReached = false;
    void listener.ready.then(() => (isReached = true));
    await whenHeard(this.hub, [listener]);
    listener.unsubscribe();
    return isReached && this.hub.catchUp();
  }

  private async receive(value: unknown): Promise<void> {
    const packet = this.read(value);
    switch (packet?.kind) {
      case 'call':
        if (packet.from !== this.hub.node) await this.answerCall(packet);
        return;
      case 'question':
        // A question to all nodes comes back to its sender.
        if (packet.from !== this.hub.node) await this.answerQuestion(packet);
        return;
      case 'answer':
        this.polls.get(packet.id)?.answered(packet.body);
        // Nobody waits for a late answer any more.
        return this.take(packet.id)?.resolve(packet.body);
      case 'failure':
        this.polls.get(packet.id)?.failed();
        return this.fail(packet.id, failed(packet.reason));
      case undefined:
    }
  }

  private read(value: unknown): NodePacket | undefined {
    try {
      return readNodePacket(value);
    } catch (error) {
      this.hub.reporter.messageRejected({ channel: this.channelOf(this.hub.node).name, error: error as Error });
      return undefined;
    }
  }

  private async answerCall({ id, from, left, of }: NodeCall): Promise<void> {
    if (left !== undefined) return this.noteLeft(left);
    const body = of === undefined ? null : this.presence.reportOf(of);
    await this.send(this.channelOf(from), { kind: 'answer', id, body });
  }

  private async noteLeft(nodes: readonly string[]): Promise<void> {
    this.presence.noteLeft(nodes);
    for (const node of nodes) this.known.delete(node);
    const isAsked = ({ node }: Pending): boolean => node !== undefined && nodes.includes(node);
    if (![...this.pending.values()].some(isAsked)) return;
    // Its last answers may arrive only now.
    await this.barrier();
    for (const [id, pending] of [...this.pending])
      if (isAsked(pending)) this.fail(id, silent(`node ${pending.node} has left`));
  }

  /** Asks the others what they know of a node. Never rejects. @param take - gets each answer; whether it is enough */
  private async askAbout(of: string, timeoutMs: number, take: (report: unknown) => boolean): Promise<void> {
    // It rejects if the hub is closed.
    await this.poll({ kind: 'call', of }, timeoutMs, take).catch(() => {});
  }

  /** The asking node gets a reply in any case, so it need not wait for its timeout. */
  private async answerQuestion({ id, from, body }: NodePacket & { kind: 'question' }): Promise<void> {
    // It was sent again meanwhile.
    if (this.answering.has(id)) return;
    this.answering.add(id);
    try {
      await this.send(this.channelOf(from), { kind: 'answer', id, body: await this.answer(body) });
    } catch (error) {
      this.hub.reporter.callbackFailed({ callback: 'The answer to another server', error });
      await this.send(this.channelOf(from), {
        kind: 'failure',
        id,
        reason: error instanceof LimitExceededError ? 'tooLong' : 'failed',
      });
    } finally {
      this.answering.delete(id);
    }
  }

  /** Rejects if the hub throws. */
  private async send(channel: Channel<NodePacket>, packet: NodePacket): Promise<boolean> {
    return this.hub.post(channel, packet, { scope: 'auto' });
  }

  private channelOf(node: string): Channel<NodePacket> {
    return reservedChannel<NodePacket>(`${this.under}node/${node}`) as Channel<NodePacket>;
  }

  private fail(id: string, error: unknown): void {
    this.take(id)?.reject(error);
  }

  private take(id: string): Pending | undefined {
    const pending = this.pending.get(id);
    if (pending === undefined) return undefined;
    this.pending.delete(id);
    for (const timer of pending.timers) clearTimeout(timer);
    return pending;
  }

  private abandon(): void {
    for (const id of [...this.pending.keys()]) this.fail(id, unavailable('the application shuts down'));
    for (const poll of this.polls.values()) poll.end();
  }
}
