import { setImmediate as nextTurn } from 'node:timers/promises';
import { REVOCATIONS, REVOCATIONS_NAME } from '../protocol/revocation.js';
import { readList, readObject, readText } from '../protocol/wire-reader.js';
import type { Hub } from './hub.js';
import { inTime } from './in-time.js';
import { NodeRequests } from './node-requests.js';

/**
 * How long to wait for answers before the question is repeated, and in the end before it is given up. A node that has ended is not counted
 * the next time. In milliseconds.
 */
const WAITS_MS = [250, 500, 1_250];
/** How many revocations one question names. */
const MAX_IDS = 100;
/** The length of the id of a revocation. */
const ID_LENGTH = 43;

/** Revocations that are asked about together. */
interface Gathered {
  readonly ids: string[];
  readonly areApplied: Promise<boolean>;
}

/**
 * Asks all other nodes whether they apply a revocation. A question names it by its id alone: only the history makes a node apply one,
 * since anybody may publish.
 */
export class Confirmations {
  private readonly nodes: NodeRequests;
  /** What is asked about in the next turn. */
  private gathered: Gathered | undefined = undefined;

  /** @param read - reads the revocations that this node may have missed */
  constructor(
    private readonly hub: Hub,
    private readonly read: () => Promise<void>,
  ) {
    this.nodes = new NodeRequests(hub, (question) => this.answer(question), `${REVOCATIONS_NAME}/`);
  }

  /** Starts to answer other nodes, and to hear their answers. */
  listen(): void {
    this.nodes.listen();
  }

  /**
   * Call it when the broker has accepted the revocation.
   *
   * @returns whether every node that the broker knows of applies it; `false` after 2 s. If the transport cannot count the nodes, it is
   *   `true` at once
   */
  confirm(id: string): Promise<boolean> {
    if (!this.hub.countsHearers) return Promise.resolve(true);
    const gathered = this.gathered ?? this.gather();
    gathered.ids.push(id);
    if (gathered.ids.length === MAX_IDS) this.gathered = undefined;
    return gathered.areApplied;
  }

  private gather(): Gathered {
    const ids: string[] = [];
    const areApplied = nextTurn().then(() => {
      if (this.gathered?.ids === ids) this.gathered = undefined;
      return this.areApplied(ids);
    });
    return (this.gathered = { ids, areApplied });
  }

  private async areApplied(ids: readonly string[]): Promise<boolean> {
    for (const ms of WAITS_MS) {
      if (this.hub.own.closed) break;
      const repeat = new Promise((resolve) => setTimeout(resolve, ms));
      if (await inTime(this.askAll(ids, ms), ms, () => false)) return true;
      await repeat;
    }
    return false;
  }

  private async askAll(ids: readonly string[], ms: number): Promise<boolean> {
    // Nodes of earlier versions hear revocations too, but no questions.
    const { bodies, areComplete } = await this.nodes.askOthers({ ids }, ms, REVOCATIONS);
    return areComplete && bodies.every((isApplied) => isApplied === true);
  }

  private async answer(question: unknown): Promise<boolean> {
    const { revocations } = this.hub.sessions;
    const { ids } = readObject(question, 'a question about revocations');
    const asked = readList(ids, 'the ids of revocations', MAX_IDS, (id, path) => readText(id, path, ID_LENGTH));
    const areApplied = (): boolean => asked.every((id) => revocations.has(id));
    // The history has them, and the message that says so has not arrived.
    if (!areApplied()) await this.read();
    return areApplied();
  }
}
