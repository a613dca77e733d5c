import { Deferred } from './deferred.js';

/** The answers of other nodes to a question to all of them. */
export interface Answers {
  /** Unchecked. */
  readonly bodies: readonly unknown[];
  /** Whether every node that the broker knows of has answered. The broker does not know nodes that are cut off from it. */
  readonly areComplete: boolean;
}

/** How many nodes are waited for at most. */
const MAX_NODES = 1_000;

/** A question to all other nodes. */
export class Poll implements Answers {
  readonly bodies: unknown[] = [];
  /** Resolves when no more answers are expected. */
  readonly over = new Deferred();
  private failures = 0;

  /**
   * @param others - how many other nodes there are; `undefined`: unknown
   * @param isEnough - whether a body makes further answers needless
   */
  constructor(
    private readonly others: number | undefined,
    private readonly isEnough: (body: unknown) => boolean,
  ) {}

  get areComplete(): boolean {
    return this.bodies.length >= (this.others ?? Infinity);
  }

  answered(body: unknown): void {
    if (this.bodies.length < MAX_NODES) this.bodies.push(body);
    if (this.isEnough(body)) this.end();
    else this.noteAnswer();
  }

  failed(): void {
    this.failures++;
    this.noteAnswer();
  }

  end(): void {
    this.over.resolve();
  }

  private noteAnswer(): void {
    if (this.bodies.length + this.failures >= (this.others ?? MAX_NODES)) this.end();
  }
}
