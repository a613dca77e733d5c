import { filter, firstValueFrom, map, of, timeout } from 'rxjs';
import type { Hub } from '../core/hub.js';
import { NodeSilentError } from '../core/node-failure.js';
import type { NodeRequests } from '../core/node-requests.js';
import { TransportUnavailableError } from '../protocol/errors.js';
import type { GapReason } from '../protocol/position.js';
import type { Admissions } from './admission.js';
import { whenCaughtUp, whenSettled } from './caught-up.js';
import { OtherNode } from './other-node.js';
import {
  readRecoveryAnswer,
  writeRecoveryQuestion,
  type RecoveryAnswer,
  type RecoveryQuestion,
} from './recovery-wire.js';
import { Replays } from './replays.js';
import { enterAgain, enterAnew, enterFrom, type Entering, type Entrance } from './resume.js';

/** A live node answers within this time, even if its own link to the broker is just being replaced. */
const ANSWER_MS = 6_000;
/** How long clients wait for a broker that is away, since with it they can get everything; then they get a gap. */
const BROKER_BACK_MS = 6_000;
/** The time between two tries. */
const AGAIN_MS = 100;
/** How long clients wait until this node has read missed messages of histories; then they get a gap. */
const WHOLE_MS = 6_000;

/**
 * How many other nodes are asked for one client. It comes from one node, or from a few if its streams broke off before they began.
 */
const MAX_NODES = 4;

/** Call it when the feed is settled, in the turn in which the client enters. */
export type Enter = () => Entrance;

/** Finds the messages that returning clients have missed, on this node or on the one that they come from. */
export class Recovery {
  /** Encoded messages that several clients have missed. */
  readonly replays = new Replays();
  private readonly others = new Map<string, OtherNode>();

  /**
   * @param nodes - sends questions to other nodes, each of which understands `{ recover }`
   * @param maxAsked - how many questions may be under way to one of them at a time
   */
  constructor(
    private readonly hub: Hub,
    private readonly admissions: Admissions,
    private readonly nodes: NodeRequests,
    private readonly maxAsked: number,
  ) {}

  /**
   * How a client enters feeds, whose subscriptions have been registered if the broker is there. Never rejects: messages that cannot be
   * found are reported as a gap.
   *
   * @param from - its previous connection
   * @param leftAt - when it has read the last messages of another node, or later; by `performance.now()`
   */
  findAll(entering: readonly Entering[], from: string | undefined, leftAt: number): Promise<Enter[]> {
    const claimed = entering.map(({ claim }) => claim?.node).filter((node) => node !== this.hub.node);
    const nodes = [...new Set(claimed)].filter((node) => node !== undefined).slice(0, MAX_NODES);
    const asked = new Map(nodes.map((node) => [node, this.whyGone(node, leftAt)]));
    return Promise.all(
      entering.map((each) => {
        const node = each.claim?.node;
        const isAsked = node === undefined || node === this.hub.node || asked.has(node);
        return isAsked ? this.find(each, from, leftAt, asked.get(node!)) : this.giveUp(each);
      }),
    );
  }

  /** @param whyGone - see {@link whyGone} */
  private async find(
    entering: Entering,
    from: string | undefined,
    leftAt: number,
    whyGone: Promise<GapReason | undefined> | undefined,
  ): Promise<Enter> {
    const { claim } = entering;
    if (claim === undefined) return () => enterAnew(entering);
    const { node } = claim;
    if (node === this.hub.node) return () => enterAgain(entering, this.admissions, this.replays);
    if (node === undefined) return () => enterAnew(entering, 'epoch');
    if (!this.hub.hasTransport) return () => enterAnew(entering, 'node');
    const reason = await whyGone;
    if (reason !== undefined) return this.enterAnewLater(entering, reason);
    const answer = await this.otherNode(node).recover(entering, from, leftAt);
    if ('reason' in answer) return this.enterAnewLater(entering, answer.reason);
    return () => enterFrom(answer.log, answer.except, entering, this.replays);
  }

  private async giveUp(entering: Entering): Promise<Enter> {
    return this.enterAnewLater(entering, await this.reasonOfSilence());
  }

  private async enterAnewLater(entering: Entering, reason: GapReason): Promise<Enter> {
    // This node may still be reading messages of histories that the client has already read there.
    await this.hub.whenWhole(entering.feed.name, WHOLE_MS);
    return () => enterAnew(entering, reason);
  }

  /** The gap reason for a client whose node is gone; `undefined` if that node can be asked. */
  private async whyGone(node: string, leftAt: number): Promise<GapReason | undefined> {
    const until = performance.now() + BROKER_BACK_MS;
    while (!(await this.nodes.isThereFor(node, leftAt))) {
      // Messages that the client has read there may still be under way to this node; they must not be sent again after the gap.
      if (await this.nodes.barrier()) return 'node';
      if (!(await this.isBrokerBack(until))) return 'broker';
    }
    return undefined;
  }

  private otherNode(id: string): OtherNode {
    let other = this.others.get(id);
    if (other === undefined) {
      const idle = (): void => void this.others.delete(id);
      const way = {
        ask: (question: RecoveryQuestion, sending: () => void, leftAt: number) =>
          this.ask(id, question, sending, leftAt),
        reasonOf: (error: unknown) => this.reasonOf(error as Error, id),
      };
      other = new OtherNode(this.hub.node, way, idle, this.maxAsked);
      this.others.set(id, other);
    }
    return other;
  }

  /** Asks again if the broker fails and soon works again: that node has everything, and its posts may arrive only now. */
  private async ask(
    node: string,
    question: RecoveryQuestion,
    sending: () => void,
    leftAt: number,
  ): Promise<RecoveryAnswer> {
    const body = { recover: writeRecoveryQuestion(question) };
    const until = performance.now() + BROKER_BACK_MS;
    for (;;) {
      try {
        // The transport would keep the question and send it when the broker is back; then it would be unknown what this node had heard by
        // then.
        if (await this.isReady(until - performance.now())) sending();
        await whenSettled(this.hub);
        const answer = readRecoveryAnswer(await this.nodes.askIfThere(node, body, ANSWER_MS, leftAt), question);
        // The answer may have arrived before messages that the other node has already heard or read.
        await whenCaughtUp(this.hub, question, WHOLE_MS);
        return answer;
      } catch (error) {
        if (!(await this.mayAnswerLater(error)) || !(await this.isBrokerBack(until))) throw error;
      }
    }
  }

  /** Whether the failure is not that node's own. */
  private async mayAnswerLater(error: unknown): Promise<boolean> {
    return isOfBroker(error) || (error instanceof NodeSilentError && !(await this.nodes.barrier()));
  }

  /** Whether the broker works in time, with all subscriptions of this node: another try is worthwhile. */
  private async isBrokerBack(until: number): Promise<boolean> {
    do {
      // It may refuse each question at once.
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      const restMs = until - performance.now();
      if (restMs <= 0 || !(await this.isReady(restMs))) return false;
      // It may be away again meanwhile, or this node finds only now that it was.
    } while (!(await this.nodes.barrier()));
    return true;
  }

  /** Whether this node hears everything in time, with its earlier losses noted in its logs. */
  private async isReady(ms: number): Promise<boolean> {
    const ready = this.hub.status.pipe(
      filter(({ state }) => state === 'ready'),
      map(() => true),
      timeout({ first: Math.max(0, ms), with: () => of(false) }),
    );
    return firstValueFrom(ready, { defaultValue: false });
  }

  private async reasonOf(error: Error, node: string): Promise<GapReason> {
    if (!(error instanceof TransportUnavailableError)) {
      this.hub.reporter.messageRejected({ channel: `messaging:node/${node}`, error });
    }
    const reason = await this.reasonOfSilence();
    return isOfBroker(error) ? 'broker' : reason;
  }

  private async reasonOfSilence(): Promise<GapReason> {
    // Messages that the client has read there may still be under way to this node; they must not be sent again after the gap.
    return (await this.nodes.barrier()) ? 'node' : 'broker';
  }
}

/** Whether the broker has failed this node, so that nothing is known of the other one. */
function isOfBroker(error: unknown): boolean {
  return error instanceof TransportUnavailableError && !(error instanceof NodeSilentError);
}
