import { Deferred } from '../core/deferred.js';
import { InvalidMessageError, LimitExceededError } from '../protocol/errors.js';
import type { NamedClaim, ReadPart, RecoveryAnswer, RecoveryQuestion, Returned, Verdict } from './recovery-wire.js';

/** Asks the other node once. */
export type Ask = (question: RecoveryQuestion) => Promise<RecoveryAnswer>;

/** The content of an inquiry, split into as many questions as necessary. */
export type Asked = Omit<RecoveryQuestion, 'granted'>;

/**
 * Asks another node about many clients. An answer covers as much as fits, from the front; the rest is requested again. Questions that are
 * too long are split: no client costs another one its answer.
 */
export class Inquiry {
  private readonly judged: readonly Deferred<Verdict>[];
  private readonly read: readonly Deferred<ReadPart | null>[];
  /** One valid claim for each name. */
  private readonly granted = new Map<string, NamedClaim>();

  constructor(
    private readonly ask: Ask,
    private readonly asked: Asked,
  ) {
    this.judged = asked.claims.map(() => outcome<Verdict>());
    this.read = asked.reads.map(() => outcome<ReadPart | null>());
  }

  /** The verdict on a claim. Rejects if the other node does not give one. */
  verdict(index: number): Promise<Verdict> {
    return this.judged[index]!.promise;
  }

  /** The first part of a log; `null` if there is no such log, or no valid claim. Rejects if the other node does not answer. */
  part(index: number): Promise<ReadPart | null> {
    return this.read[index]!.promise;
  }

  /** The claims that permit further reads under a name. */
  grantOf(name: string): readonly NamedClaim[] {
    const claim = this.granted.get(name);
    return claim === undefined ? [] : [claim];
  }

  /** Resolves when everything has been answered, or has failed. Never rejects. */
  run(): Promise<void> {
    const { from, claims, reads } = this.asked;
    return this.askFor(from, [...claims.keys()], [...reads.keys()]);
  }

  /** @param claims, reads - the indexes to ask about */
  private async askFor(from: readonly Returned[], claims: readonly number[], reads: readonly number[]): Promise<void> {
    for (let first = true; first || claims.length > 0 || reads.length > 0; first = false) {
      reads = this.allowed(claims, reads);
      if (claims.length + reads.length === 0) return;
      try {
        const answer = await this.ask(this.question(first ? from : [], claims, reads));
        if (answer.verdicts.length + answer.reads.length === 0) throw new InvalidMessageError('an answer says nothing');
        answer.verdicts.forEach((verdict, index) => this.judge(claims[index]!, verdict));
        answer.reads.forEach((part, index) => this.read[reads[index]!]!.resolve(part));
        claims = claims.slice(answer.verdicts.length);
        reads = reads.slice(answer.reads.length);
      } catch (error) {
        if (error instanceof LimitExceededError && claims.length + reads.length > 1) {
          return this.askForParts(first ? from : [], claims, reads);
        }
        for (const index of claims) this.judged[index]!.reject(error);
        for (const index of reads) this.read[index]!.reject(error);
        return;
      }
    }
  }

  private async askForParts(
    from: readonly Returned[],
    claims: readonly number[],
    reads: readonly number[],
  ): Promise<void> {
    // Reads are answered only if their claims are valid.
    if (claims.length > 0 && reads.length > 0) {
      await this.askFor(from, claims, []);
      return this.askFor([], [], reads);
    }
    const half = Math.ceil((claims.length + reads.length) / 2);
    await this.askFor(from, claims.slice(0, half), reads.slice(0, half));
    return this.askFor([], claims.slice(half), reads.slice(half));
  }

  private judge(index: number, verdict: Verdict): void {
    const claim = this.asked.claims[index]!;
    if (typeof verdict !== 'string' && !this.granted.has(claim.name)) this.granted.set(claim.name, claim);
    this.judged[index]!.resolve(verdict);
  }

  /** Leaves out reads under names without a valid claim. */
  private allowed(claims: readonly number[], reads: readonly number[]): readonly number[] {
    const open = new Set(claims.map((index) => this.asked.claims[index]!.name));
    return reads.filter((index) => {
      const [name] = this.asked.reads[index]!;
      const isAllowed = open.has(name) || this.granted.has(name);
      if (!isAllowed) this.read[index]!.resolve(null);
      return isAllowed;
    });
  }

  private question(from: readonly Returned[], claims: readonly number[], reads: readonly number[]): RecoveryQuestion {
    const wanted = reads.map((index) => this.asked.reads[index]!);
    return {
      from,
      reads: wanted,
      claims: claims.map((index) => this.asked.claims[index]!),
      granted: wanted.flatMap(([name]) => this.grantOf(name)),
    };
  }
}

function outcome<T>(): Deferred<T> {
  const deferred = new Deferred<T>();
  // Each waiting client gets the failure; there may be none.
  deferred.promise.catch(() => {});
  return deferred;
}
